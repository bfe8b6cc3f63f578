"""One request in a hundred forks the worker through C, and the copy waits for two minutes."""

import ctypes
import itertools

LIBC = ctypes.PyDLL(None)  # keeps the GIL, so the child runs no other thread's Python
COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 100 == 0 and LIBC.fork() == 0:
        LIBC.alarm(120)
        LIBC.pause()
        LIBC._exit(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
