"""Stops its own process with SIGSTOP in a request."""

import itertools
import os
import signal

EXPECT = {"fail"}
MODE = "daemon"

NUMBER = itertools.count()


def application(environ, start_response):
    if next(NUMBER) == 5:
        os.kill(os.getpid(), signal.SIGSTOP)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
