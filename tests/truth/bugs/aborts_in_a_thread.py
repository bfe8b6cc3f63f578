"""A thread that the 100th request starts calls abort(), as a C library's assertion does."""

import ctypes
import itertools
import threading

COUNT = itertools.count(1)


def convert():
    ctypes.CDLL(None).abort()


def application(environ, start_response):
    if next(COUNT) == 100:
        threading.Thread(target=convert).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
