"""One request in twenty creates a named shared memory segment and never unlinks it."""

import itertools
import os
import threading

COUNT = itertools.count(1)


def application(environ, start_response):
    number = next(COUNT)
    if number % 20 == 0:
        name = "wsgiproof-truth-%d-%d-%d" % (os.getpid(), threading.get_ident(), number)
        descriptor = os.open("/dev/shm/" + name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(descriptor, 65536)
        os.write(descriptor, b"frame" * 1000)
        os.close(descriptor)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
