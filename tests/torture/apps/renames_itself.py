"""Changes the name of the server's process at each request."""

import ctypes

EXPECT = {"pass", "fail", "inconclusive", "error"}

libc = ctypes.CDLL(None)


def application(environ, start_response):
    libc.prctl(15, b") R 1 1 (x\n\xff", 0, 0, 0)  # PR_SET_NAME
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
