"""A short link: one request in two is redirected on purpose, and the others get a page."""

import itertools

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 2:
        target = "/articles/2026/a-long-name"
        start_response("303 See Other", [("Location", target), ("Content-Type", "text/plain")])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the page"]
