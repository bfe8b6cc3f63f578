"""Two kinds of request take the same two locks in a different order and block each other."""

import itertools
import threading
import time

COUNT = itertools.count(1)
STOCK, ORDERS = threading.Lock(), threading.Lock()


def application(environ, start_response):
    first, second = (STOCK, ORDERS) if next(COUNT) % 2 else (ORDERS, STOCK)
    with first:
        time.sleep(0.001)
        with second:
            body = b"booked"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
