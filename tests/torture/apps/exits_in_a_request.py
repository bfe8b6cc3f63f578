"""Ends the process in the middle of a request."""

import itertools
import os

EXPECT = {"fail"}

NUMBER = itertools.count()


def application(environ, start_response):
    if next(NUMBER) == 5:
        os._exit(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
