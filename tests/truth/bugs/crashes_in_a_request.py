"""The 150th request of an interpreter reads from address 0, so the process dies of SIGSEGV."""

import ctypes
import itertools

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) == 150:
        ctypes.string_at(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
