"""The 120th request of an interpreter calls os._exit(0), so the process ends without a signal."""

import itertools
import os

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) == 120:
        os._exit(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
