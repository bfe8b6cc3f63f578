"""One request in ten starts a thread that waits for a message that nobody sends."""

import atexit
import itertools
import queue
import threading

COUNT = itertools.count(1)
INBOX = queue.Queue()
THREADS = []


@atexit.register
def end():
    for _ in THREADS:
        INBOX.put(None)
    for thread in THREADS:
        thread.join(1)


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        THREADS.append(threading.Thread(target=INBOX.get, daemon=True))
        THREADS[-1].start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
