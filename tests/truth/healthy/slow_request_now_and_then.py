"""One request in 100 takes 400 ms, at the start of the load as at its end."""

import itertools
import time

COUNT = itertools.count(1)


def application(environ, start_response):
    time.sleep(0.4 if next(COUNT) % 100 == 0 else 0.001)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
