"""Writes a hundred kilobytes to the log at each request."""

import sys

EXPECT = {"pass", "fail", "inconclusive", "error"}


def application(environ, start_response):
    for _ in range(100):
        sys.stderr.write("x" * 1000 + "\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
