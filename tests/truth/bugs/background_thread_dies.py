"""A background thread dies of an exception as the first request comes, and only the log knows."""

import threading

FIRST = threading.Event()


def work():
    FIRST.wait(600)
    raise OSError("the spool directory has gone")


threading.Thread(target=work, daemon=True).start()


def application(environ, start_response):
    FIRST.set()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"queued"]
