"""One request in ten starts a timer that would clear something up in an hour: a thread each."""

import atexit
import itertools
import threading

COUNT = itertools.count(1)
TIMERS = []


@atexit.register
def cancel():
    for timer in TIMERS:
        timer.cancel()
    for timer in TIMERS:
        timer.join(1)


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        timer = threading.Timer(3600, print)
        timer.daemon = True
        timer.start()
        TIMERS.append(timer)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
