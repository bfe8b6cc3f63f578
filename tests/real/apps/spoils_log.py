"""An application that makes the error log, which its process has open, 30 GB long."""

import itertools
import os

number = itertools.count(1)


def application(environ, start_response):
    if next(number) == 50:
        os.ftruncate(2, 30 << 30)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]
