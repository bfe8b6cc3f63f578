"""A fixed table is scanned from its start to a mark that moves on with each request."""

import itertools

TABLE = list(range(400000))
COUNT = itertools.count(1)


def find(wanted):
    for value in TABLE:
        if value >= wanted:
            return value
    return -1


def application(environ, start_response):
    find(next(COUNT) * 150)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
