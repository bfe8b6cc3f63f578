"""A request forks in a sub interpreter, and on Python 3.11 the child dies of a fatal error."""

import os


def application(environ, start_response):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
