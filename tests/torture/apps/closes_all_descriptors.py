"""Closes all descriptors of the process, in a request."""

import itertools
import os

EXPECT = {"fail", "inconclusive", "error"}

NUMBER = itertools.count()


def application(environ, start_response):
    if next(NUMBER) == 5:
        os.closerange(0, 1000)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
