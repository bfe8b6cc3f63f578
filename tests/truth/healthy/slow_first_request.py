"""The first request of an interpreter fills a table for a second and a half; later ones use it."""

import threading
import time

LOCK = threading.Lock()
TABLE = {}


def application(environ, start_response):
    with LOCK:
        if not TABLE:
            time.sleep(1.5)
            TABLE.update((number, str(number)) for number in range(50000))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [TABLE[7].encode()]
