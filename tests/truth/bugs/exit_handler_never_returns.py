"""An exit handler waits for a thread that waits for ever, so the process has to be killed."""

import atexit
import threading

NEVER = threading.Event()
THREAD = threading.Thread(target=NEVER.wait, daemon=True)
THREAD.start()
atexit.register(THREAD.join)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
