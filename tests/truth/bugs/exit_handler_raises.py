"""An exit handler uses a name that does not exist, so each end of a process logs a traceback."""

import atexit

STATE = {"orders": 0}


@atexit.register
def save():
    flush(STATE)  # noqa: F821


def application(environ, start_response):
    STATE["orders"] += 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ordered"]
