"""Hangs in a function of atexit."""

import atexit
import time

EXPECT = {"fail"}

atexit.register(time.sleep, 600)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
