"""A watcher in the background opens a file each second and closes none of them."""

import atexit
import threading

FILES = []
STOP = threading.Event()


def watch():
    while not STOP.wait(1):
        FILES.append(open("/etc/hostname"))


THREAD = threading.Thread(target=watch, daemon=True)
THREAD.start()
atexit.register(lambda: (STOP.set(), THREAD.join(2)))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
