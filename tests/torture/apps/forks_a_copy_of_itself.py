"""A child that goes on as if it were the server."""

import os
import time

EXPECT = {"pass", "fail", "inconclusive", "error"}
MODE = "daemon"

if os.fork() == 0:
    time.sleep(300)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
