"""One request in twenty creates a named POSIX semaphore and never unlinks it."""

import ctypes
import itertools
import os
import threading

LIBC = ctypes.CDLL("libpthread.so.0", use_errno=True)
LIBC.sem_open.restype = ctypes.c_void_p
COUNT = itertools.count(1)


def application(environ, start_response):
    number = next(COUNT)
    if number % 20 == 0:
        name = "/wsgiproof-truth-%d-%d-%d" % (os.getpid(), threading.get_ident(), number)
        semaphore = LIBC.sem_open(name.encode(), os.O_CREAT | os.O_EXCL, 0o600, 1)
        LIBC.sem_close(ctypes.c_void_p(semaphore))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
