"""Each request logs to a file that is rotated and bounded; the files go as the process ends."""

import atexit
import logging
import logging.handlers
import os
import shutil
import tempfile

DIRECTORY = tempfile.mkdtemp(prefix="wsgiproof-truth-")
HANDLER = logging.handlers.RotatingFileHandler(
    os.path.join(DIRECTORY, "shop.log"), maxBytes=20000, backupCount=2
)
LOG = logging.getLogger("shop")
LOG.addHandler(HANDLER)
LOG.propagate = False
atexit.register(lambda: (HANDLER.close(), shutil.rmtree(DIRECTORY, ignore_errors=True)))


def application(environ, start_response):
    LOG.warning("order from %s %s", environ.get("REMOTE_ADDR"), "x" * 100)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ordered"]
