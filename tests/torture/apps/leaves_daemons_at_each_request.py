"""Leaves a daemon at each request, up to forty."""

import os
import signal
import time

EXPECT = {"pass", "fail", "inconclusive", "error"}
MODE = "daemon"


def daemonise(seconds):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)
    os._exit(0)


NUMBER = iter(range(20))


def application(environ, start_response):
    if next(NUMBER, None) is not None:
        daemonise(600)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
