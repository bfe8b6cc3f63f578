"""Replaces the functions of the probe with such as raise."""

import sys

EXPECT = {"pass", "fail", "inconclusive", "error"}


def broken(*arguments, **named):
    raise RuntimeError("tampered with")


for name in list(sys.modules):
    if name.startswith("wsgiproof_agent."):
        module = sys.modules[name]
        for attribute in list(vars(module)):
            if callable(vars(module)[attribute]) and not attribute.startswith("__"):
                setattr(module, attribute, broken)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
