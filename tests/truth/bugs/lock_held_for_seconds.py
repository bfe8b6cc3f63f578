"""Every 200 requests one of them holds a lock for five seconds that all the others need."""

import itertools
import threading
import time

COUNT = itertools.count(1)
LOCK = threading.Lock()


def application(environ, start_response):
    with LOCK:
        if next(COUNT) % 200 == 0:
            time.sleep(5)  # "compacting"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
