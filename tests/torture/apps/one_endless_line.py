"""Writes one line of 20 MB to the log."""

import sys

EXPECT = {"pass", "fail", "inconclusive", "error"}

for _ in range(200):
    sys.stderr.write("y" * 100_000)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
