"""One request in fifty fails inside, logs a traceback and answers 200 all the same."""

import itertools
import logging

COUNT = itertools.count(1)
LOG = logging.getLogger("shop")


def application(environ, start_response):
    try:
        total = 100 // (next(COUNT) % 50)
    except ZeroDivisionError:
        LOG.exception("the order was not stored")
        total = 0
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(total).encode()]
