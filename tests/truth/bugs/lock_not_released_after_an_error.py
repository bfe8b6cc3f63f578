"""An error leaves a lock held, and every request after it waits for that lock for ever."""

import itertools
import threading

COUNT = itertools.count(1)
LOCK = threading.Lock()


def application(environ, start_response):
    LOCK.acquire()
    if next(COUNT) == 90:
        raise KeyError("article")  # a "with" would have released it
    LOCK.release()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
