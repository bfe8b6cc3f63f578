"""Reads from the address 0."""

import ctypes
import itertools

EXPECT = {"fail"}

NUMBER = itertools.count()


def application(environ, start_response):
    if next(NUMBER) == 5:
        ctypes.string_at(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
