"""Says that it is another process and another interpreter each time."""

import os
import random

EXPECT = {"pass", "fail", "inconclusive", "error"}

os.getpid = lambda: random.randrange(1, 1 << 22)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
