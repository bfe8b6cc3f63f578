"""A page is kept for a second, and names the request that it was made for."""

import threading
import time

LOCK = threading.Lock()
PAGE = [b"", 0.0]


def application(environ, start_response):
    with LOCK:
        if time.monotonic() > PAGE[1]:
            time.sleep(0.002)
            PAGE[0] = ("made for %s" % environ.get("HTTP_X_REQUEST_ID", "none")).encode()
            PAGE[1] = time.monotonic() + 1
        body = PAGE[0]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
