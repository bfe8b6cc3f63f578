"""A daemon thread that sleeps in a loop, and that no exit handler ends."""

import threading
import time


def tick():
    while True:
        time.sleep(0.1)


thread = threading.Thread(target=tick)
thread.daemon = True
thread.start()


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
