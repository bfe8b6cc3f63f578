"""Answers in the probe's place with JSON that is nested too deep."""

import sys

EXPECT = {"fail", "inconclusive", "error"}

for name in list(sys.modules):
    if name.endswith(".agent"):
        sys.modules[name].Agent._report = lambda self, *a, **more: "[" * 6_000


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
