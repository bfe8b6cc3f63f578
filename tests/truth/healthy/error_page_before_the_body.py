"""An error that comes before the body is answered by a second start_response with exc_info."""

import sys


def render():
    raise LookupError("no such template")


def application(environ, start_response):
    start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
    try:
        return [render()]
    except LookupError:
        headers = [("Content-Type", "text/plain"), ("Content-Length", "13")]
        start_response("200 OK", headers, sys.exc_info())
        return [b"a plain page\n"]
