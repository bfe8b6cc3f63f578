"""The body is an object with a close method, which frees what the answer needed."""

import itertools

OPEN = itertools.count(1)
CLOSED = itertools.count(1)


class Body:
    def __init__(self):
        next(OPEN)
        self.file = open("/etc/hostname", "rb")

    def __iter__(self):
        yield from iter(lambda: self.file.read(64), b"")

    def close(self):
        next(CLOSED)
        self.file.close()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body()
