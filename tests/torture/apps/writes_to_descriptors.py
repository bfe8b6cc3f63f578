"""Writes garbage to the descriptors 0 to 20."""

import os

EXPECT = {"pass", "fail", "inconclusive", "error"}


def application(environ, start_response):
    for number in range(21):
        try:
            os.set_blocking(number, False)
            os.write(number, b"\0garbage\xff\n")
        except OSError:
            continue
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
