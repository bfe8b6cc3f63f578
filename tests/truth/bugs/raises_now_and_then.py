"""One request in a hundred raises a KeyError that nobody catches."""

import itertools

COUNT = itertools.count(1)
PRICES = {"a": 3}


def application(environ, start_response):
    article = "b" if next(COUNT) % 100 == 0 else "a"
    price = PRICES[article]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(price).encode()]
