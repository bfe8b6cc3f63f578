"""Each request adds a handler to the same logger, so each record is handled more often."""

import logging

LOG = logging.getLogger("shop")
LOG.propagate = False
LOG.setLevel(logging.INFO)


class Counting(logging.Handler):
    def emit(self, record):
        record.getMessage()


def application(environ, start_response):
    LOG.addHandler(Counting())
    LOG.info("order from %s", environ.get("REMOTE_ADDR"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"logged"]
