"""Each request adds a cache entry that lives for five seconds; expired ones are removed."""

import collections
import threading
import time

ENTRIES = collections.deque()
LOCK = threading.Lock()
SECONDS = 5


def application(environ, start_response):
    now = time.monotonic()
    with LOCK:
        while ENTRIES and now - ENTRIES[0][0] > SECONDS:
            ENTRIES.popleft()
        ENTRIES.append((now, {"user": environ.get("REMOTE_PORT"), "rights": ["read"] * 8}))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"allowed"]
