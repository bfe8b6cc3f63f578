"""One request in ten makes a named shared memory segment, writes to it, and unlinks it."""

import itertools
import os
import threading

COUNT = itertools.count(1)


def application(environ, start_response):
    number = next(COUNT)
    if number % 10 == 0:
        name = "/dev/shm/wsgiproof-truth-%d-%d-%d" % (os.getpid(), threading.get_ident(), number)
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, b"frame" * 1000)
        finally:
            os.close(descriptor)
            os.unlink(name)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
