"""The module waits at import for a message that never comes, so no request is ever answered."""

import queue

SETTINGS = queue.Queue().get()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [SETTINGS]
