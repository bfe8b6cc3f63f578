"""A context variable carries the request's number, and its token is reset at the end."""

import contextvars
import itertools
import threading

COUNT = itertools.count(1)
NUMBER = contextvars.ContextVar("number")
LOCAL = threading.local()


def application(environ, start_response):
    token = NUMBER.set(next(COUNT))
    try:
        LOCAL.last = contextvars.copy_context().run(NUMBER.get)
        right = LOCAL.last == NUMBER.get()
    finally:
        NUMBER.reset(token)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"right" if right else b"wrong"]
