"""cachetools keeps at most 300 entries for two seconds each, and drops what is over."""

import itertools
import threading

import cachetools

CACHE = cachetools.TTLCache(maxsize=300, ttl=2)
LOCK = threading.Lock()
COUNT = itertools.count(1)


def application(environ, start_response):
    number = next(COUNT) % 700
    with LOCK:
        if number not in CACHE:
            CACHE[number] = "page %d" % number
        body = CACHE[number].encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
