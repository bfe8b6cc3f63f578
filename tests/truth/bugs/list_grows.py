"""Each request appends a record of 300 bytes to a list in its module that is never emptied."""

import time

HISTORY = []


def application(environ, start_response):
    HISTORY.append({"at": time.time(), "from": environ.get("REMOTE_ADDR"), "text": "x" * 100})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"remembered"]
