"""Each request writes ordinary lines, one with the word "error", to Apache's error log."""

import logging
import sys

logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
LOG = logging.getLogger("shop")


def application(environ, start_response):
    LOG.info("the page was rendered with 0 errors")
    print("asked for", environ.get("SCRIPT_NAME"), file=environ["wsgi.errors"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"logged"]
