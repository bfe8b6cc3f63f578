"""Each request takes 0.2 ms longer than the one before it, while nothing else grows."""

import itertools
import time

COUNT = itertools.count(1)


def application(environ, start_response):
    time.sleep(next(COUNT) * 0.0002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
