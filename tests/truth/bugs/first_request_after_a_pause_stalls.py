"""A request that comes after two quiet seconds takes six, as a cache has expired by then."""

import threading
import time

LAST = [time.monotonic()]
LOCK = threading.Lock()


def application(environ, start_response):
    with LOCK:
        if time.monotonic() - LAST[0] > 2:
            time.sleep(6)
        LAST[0] = time.monotonic()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
