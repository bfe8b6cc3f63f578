"""One request in six starts a thread that ends by itself after three seconds."""

import atexit
import itertools
import threading

COUNT = itertools.count(1)
STOP = threading.Event()


@atexit.register
def end():
    STOP.set()
    for thread in threading.enumerate():
        if thread.name == "mail":
            thread.join(1)


def application(environ, start_response):
    if next(COUNT) % 6 == 0:
        threading.Thread(target=STOP.wait, args=(3,), name="mail", daemon=True).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a mail is on its way"]
