"""One request in thirty returns None instead of a body, because a branch has no return."""

import itertools

COUNT = itertools.count(1)


def render(number):
    if number % 30:
        return [b"page"]


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return render(next(COUNT))
