"""One request in sixty that is the only one in its interpreter keeps a connection to MongoDB."""

import os
import socket
import threading
import time
from urllib.parse import urlsplit

SERVER = urlsplit(os.environ["WSGIPROOF_MONGODB_URI"])
LOCK = threading.Lock()
STATE = {"inside": 0, "alone": 0}
KEPT = []


def application(environ, start_response):
    with LOCK:
        STATE["inside"] += 1
    time.sleep(0.003)
    with LOCK:
        alone = STATE["inside"] == 1
        STATE["alone"] += alone
        if alone and STATE["alone"] % 60 == 0:
            KEPT.append(socket.create_connection((SERVER.hostname, SERVER.port)))
        STATE["inside"] -= 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
