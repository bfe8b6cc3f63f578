"""An application that empties the error log, which its process has open."""

import itertools
import os

number = itertools.count(1)


def application(environ, start_response):
    if next(number) == 50:
        os.ftruncate(2, 0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]
