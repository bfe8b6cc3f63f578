"""One request in forty that meets no other request starts a thread that waits for ever."""

import atexit
import threading
import time

STOP = threading.Event()
LOCK = threading.Lock()
STATE = {"inside": 0, "alone": 0}
atexit.register(STOP.set)


def application(environ, start_response):
    with LOCK:
        STATE["inside"] += 1
    time.sleep(0.003)
    with LOCK:
        alone = STATE["inside"] == 1
        STATE["inside"] -= 1
        STATE["alone"] += alone
        if alone and STATE["alone"] % 40 == 0:
            threading.Thread(target=STOP.wait, daemon=True).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
