"""The 200th request of an interpreter waits for an event that nobody sets."""

import itertools
import threading

COUNT = itertools.count(1)
NEVER = threading.Event()


def application(environ, start_response):
    if next(COUNT) == 200:
        NEVER.wait(300)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
