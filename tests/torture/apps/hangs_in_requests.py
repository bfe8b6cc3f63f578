"""Never answers one request."""

import itertools
import time

EXPECT = {"fail"}

NUMBER = itertools.count()


def application(environ, start_response):
    if next(NUMBER) == 5:
        time.sleep(600)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
