"""Starts a process that daemonises and ignores every signal that it can."""

import os
import signal
import time

EXPECT = {"pass", "fail", "inconclusive", "error"}


def daemonise(seconds):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    time.sleep(seconds)
    os._exit(0)


daemonise(600)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
