"""One request in ten opens a connection to MongoDB, which a timer closes three seconds later."""

import atexit
import itertools
import os
import socket
import threading
from urllib.parse import urlsplit

SERVER = urlsplit(os.environ["WSGIPROOF_MONGODB_URI"])
COUNT = itertools.count(1)
TIMERS = set()


@atexit.register
def end():
    for timer in list(TIMERS):
        timer.cancel()
        timer.join(1)


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        connection = socket.create_connection((SERVER.hostname, SERVER.port))
        timer = threading.Timer(3, lambda: (connection.close(), TIMERS.discard(timer)))
        timer.daemon = True
        TIMERS.add(timer)
        timer.start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
