"""An lru_cache without a bound is asked for a new key by each request."""

import functools
import itertools

COUNT = itertools.count(1)


@functools.lru_cache(maxsize=None)
def price(article):
    return {"article": article, "price": article * 3, "text": "article %d" % article}


def application(environ, start_response):
    answer = price(next(COUNT))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer["text"].encode()]
