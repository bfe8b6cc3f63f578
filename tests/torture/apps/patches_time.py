"""Makes every clock of its interpreter stand still or run backwards."""

import time

EXPECT = {"pass", "fail", "inconclusive", "error"}

time.sleep = lambda seconds: None
time.time = lambda: 0.0
time.monotonic = lambda: -1.0


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
