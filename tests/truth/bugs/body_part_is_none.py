"""One answer in twenty-five has None among the parts of its body, where a template gave nothing."""

import itertools

COUNT = itertools.count(1)


def footer(number):
    if number % 25:
        return b"footer\n"
    return None


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"page\n", footer(next(COUNT))]
