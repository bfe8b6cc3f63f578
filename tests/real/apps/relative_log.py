"""Logs to a file that it names by a relative path. A plain Apache's working directory is "/"."""

import logging

LOG = logging.getLogger("shop")
LOG.addHandler(logging.FileHandler("shop.log"))


def application(environ, start_response):
    LOG.warning("asked")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"logged"]
