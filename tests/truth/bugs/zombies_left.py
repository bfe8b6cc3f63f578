"""One request in twenty runs a command and never waits for it, so a zombie is left."""

import itertools
import os

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 20 == 0:
        os.posix_spawn("/bin/true", ["true"], {})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"converted"]
