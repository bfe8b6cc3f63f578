"""One request in twenty makes a thread pool of two and keeps it, so its idle threads stay."""

import itertools
from concurrent.futures import ThreadPoolExecutor

COUNT = itertools.count(1)
POOLS = []


def application(environ, start_response):
    if next(COUNT) % 20 == 0:
        pool = ThreadPoolExecutor(2)
        list(pool.map(len, ["one", "two"]))
        POOLS.append(pool)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
