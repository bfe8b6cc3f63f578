"""The log file has a relative name: a plain daemon process works in / and may not create it."""

import logging

LOG = logging.getLogger("orders")
LOG.addHandler(logging.FileHandler("orders.log"))
LOG.propagate = False


def application(environ, start_response):
    LOG.warning("order from %s", environ.get("REMOTE_ADDR"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ordered"]
