"""One request in 150 of an interpreter waits for eight seconds, just under the deadline."""

import itertools
import time

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 150 == 0:
        time.sleep(8)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
