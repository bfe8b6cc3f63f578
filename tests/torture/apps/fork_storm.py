"""A hundred children at once, each in a session of its own."""

import os
import signal
import time

EXPECT = {"pass", "fail", "inconclusive", "error"}
MODE = "daemon"

for _ in range(50):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        time.sleep(600)
        os._exit(0)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
