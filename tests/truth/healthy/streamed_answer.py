"""Each answer is a generator of parts without a Content-Length, with a pause now and then."""

import itertools
import time

COUNT = itertools.count(1)


def parts(slow):
    for number in range(10):
        if slow and number == 5:
            time.sleep(0.1)
        yield b"row %d\n" % number


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/csv")])
    return parts(next(COUNT) % 50 == 0)
