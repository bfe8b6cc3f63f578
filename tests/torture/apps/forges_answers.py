"""Answers in the probe's place, with words of its own."""

import json
import sys

EXPECT = {"fail", "inconclusive", "error"}

for name in list(sys.modules):
    if name.endswith(".agent"):
        sys.modules[name].Agent._report = lambda self, *a, **more: json.dumps(
            {"token": "\x1b[31m", "pid": -1, "request": 1 << 70, "problems": {}}
        )


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
