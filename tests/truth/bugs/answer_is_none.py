"""One request in thirty returns None instead of a body, because a branch has no return."""

import itertools

COUNT = itertools.count(1)


def render(number):
    return [b"page"] if number % 30 else None


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return render(next(COUNT))
