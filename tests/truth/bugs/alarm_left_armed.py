"""A time limit of alarm() is not taken back, so SIGALRM ends the process a second later."""

import ctypes
import itertools

LIBC = ctypes.CDLL(None)
COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) == 60:
        LIBC.alarm(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
