"""Each request takes 0.1 ms longer than the one before it, while nothing else grows."""

import itertools
import time

COUNT = itertools.count(1)


def application(environ, start_response):
    time.sleep(next(COUNT) * 0.0001)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
