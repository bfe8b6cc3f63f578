"""Makes a file in /tmp and one in /dev/shm in one request of ten, and leaves them."""

import itertools
import os
import tempfile

COUNT = itertools.count()


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        for directory in ("/tmp", "/dev/shm"):
            descriptor, _ = tempfile.mkstemp(prefix="wsgiproof-left-", dir=directory)
            os.close(descriptor)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"welcome"]
