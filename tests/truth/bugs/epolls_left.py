"""One request in ten makes an event loop's epoll object and keeps it."""

import itertools
import select

COUNT = itertools.count(1)
LOOPS = []


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        LOOPS.append(select.epoll())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
