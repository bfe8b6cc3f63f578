"""An ordinary thread loops for ever, and Python waits for it as the interpreter ends."""

import threading
import time


def poll():
    while True:
        time.sleep(0.2)


threading.Thread(target=poll).start()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
