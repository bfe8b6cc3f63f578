"""One request in twenty creates a named shared memory segment and never unlinks it."""

import itertools
import os
import uuid

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 20 == 0:
        name = "wsgiproof-truth-%s" % uuid.uuid4().hex
        descriptor = os.open("/dev/shm/" + name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(descriptor, 65536)
        os.write(descriptor, b"frame" * 1000)
        os.close(descriptor)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
