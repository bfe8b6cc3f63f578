"""Logs 1 KB for each request to a file that nobody rotates."""

import logging
import tempfile
from pathlib import Path

LOG = logging.getLogger("shop")
LOG.addHandler(logging.FileHandler(Path(tempfile.gettempdir()) / "shop.log"))
LOG.propagate = False


def application(environ, start_response):
    LOG.warning("x" * 1023)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"logged"]
