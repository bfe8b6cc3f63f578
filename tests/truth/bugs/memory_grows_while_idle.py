"""A background thread keeps 80 KB a second as soon as no request has come for two seconds."""

import atexit
import threading
import time

CACHE = []
LAST = [time.monotonic()]
STOP = threading.Event()


def prefetch():
    while not STOP.wait(0.25):
        if time.monotonic() - LAST[0] > 2:
            CACHE.append(bytearray(20000))


THREAD = threading.Thread(target=prefetch, daemon=True)
THREAD.start()
atexit.register(lambda: (STOP.set(), THREAD.join(2)))


def application(environ, start_response):
    LAST[0] = time.monotonic()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
