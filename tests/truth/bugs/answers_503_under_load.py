"""As soon as four requests are inside at once, the application answers 503 to the next one."""

import threading
import time

SLOTS = threading.BoundedSemaphore(4)


def application(environ, start_response):
    if not SLOTS.acquire(blocking=False):
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"busy"]
    try:
        time.sleep(0.004)
    finally:
        SLOTS.release()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
