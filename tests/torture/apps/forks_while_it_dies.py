"""Children that fork whenever one of them ends, so many times."""

import os
import signal
import time

EXPECT = {"pass", "fail", "inconclusive", "error"}
MODE = "daemon"


def heir(generations):
    if os.fork():
        return
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(generations):
        if os.fork():
            os._exit(0)
        time.sleep(0.02)
    os._exit(0)


for _ in range(4):
    heir(800)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
