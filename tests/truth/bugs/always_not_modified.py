"""Every answer is 304 Not Modified, although no client has sent a validator."""

import time

CHANGED = time.time()


def application(environ, start_response):
    since = environ.get("HTTP_IF_MODIFIED_SINCE", "never")
    if since != CHANGED:  # the comparison is the wrong way round, and of different types
        start_response("304 Not Modified", [("ETag", '"1"')])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"page"]
