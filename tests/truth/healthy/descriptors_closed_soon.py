"""From its 200th request on, each request opens a file that a thread closes 0.4 seconds later."""

import atexit
import collections
import itertools
import threading
import time

COUNT = itertools.count(1)
OPEN = collections.deque()
STOP = threading.Event()


def close():
    while not STOP.wait(0.05):
        while OPEN and time.monotonic() - OPEN[0][0] > 0.4:
            OPEN.popleft()[1].close()


THREAD = threading.Thread(target=close, daemon=True)
THREAD.start()
atexit.register(lambda: (STOP.set(), THREAD.join(2)))


def application(environ, start_response):
    if next(COUNT) > 200:
        OPEN.append((time.monotonic(), open("/etc/hostname")))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
