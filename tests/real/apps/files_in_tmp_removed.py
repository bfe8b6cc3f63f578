"""Makes files in /tmp and in /dev/shm, and removes them in the same request."""

import itertools
import os
import pathlib
import tempfile

COUNT = itertools.count()


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        for directory in ("/tmp", "/dev/shm"):
            descriptor, path = tempfile.mkstemp(prefix="wsgiproof-left-", dir=directory)
            os.close(descriptor)
            pathlib.Path(path).unlink()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"welcome"]
