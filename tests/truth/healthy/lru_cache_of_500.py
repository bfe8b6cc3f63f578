"""An lru_cache of 500 entries is asked for 800 keys in turn, so its entries always change."""

import functools
import itertools

COUNT = itertools.count(1)


@functools.lru_cache(maxsize=500)
def price(article):
    return {"article": article, "text": "article number %d" % article}


def application(environ, start_response):
    answer = price(next(COUNT) % 800)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer["text"].encode()]
