"""A cache of at most 4,000 entries gets one entry more by each request, and is full after 4,000."""

import collections
import itertools
import threading

COUNT = itertools.count(1)
CACHE = collections.OrderedDict()
LOCK = threading.Lock()
LARGEST = 4000


def application(environ, start_response):
    number = next(COUNT)
    with LOCK:
        CACHE[number] = "page %d, rendered for all" % number
        if len(CACHE) > LARGEST:
            CACHE.popitem(last=False)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"page"]
