"""A log file that is named by a relative path: nobody but root may write to "/"."""

import logging

LOG = logging.getLogger("shop")
LOG.addHandler(logging.FileHandler("shop.log"))


def application(environ, start_response):
    LOG.warning("asked")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"logged"]
