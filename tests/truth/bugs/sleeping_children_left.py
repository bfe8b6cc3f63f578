"""One request in forty starts a child process that outlives it and that nobody waits for."""

import itertools
import os

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 40 == 0:
        os.posix_spawn("/bin/sleep", ["sleep", "120"], {})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"started"]
