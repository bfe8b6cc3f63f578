"""The automatic collector is off, and every hundredth request calls gc.collect() in its place."""

import gc
import itertools

gc.disable()
COUNT = itertools.count(1)


class Node:
    def __init__(self):
        self.rows = list(range(100))
        self.me = self


def application(environ, start_response):
    Node()
    if next(COUNT) % 100 == 0:
        gc.collect()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
