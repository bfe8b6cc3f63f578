"""The cache is made in the working directory, which a plain daemon process may not write to."""

import os
import threading

CACHE = "page-cache"
os.makedirs(CACHE, exist_ok=True)
LOCK = threading.Lock()


def application(environ, start_response):
    path = os.path.join(CACHE, "front-page")
    with LOCK:
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.write(b"front page")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"front page"]
