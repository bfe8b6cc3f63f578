"""The garbage collector is off and each request leaves a cycle of 4 KB, which nobody collects."""

import gc

gc.disable()


class Node:
    def __init__(self):
        self.text = "x" * 4096 + str(id(self))
        self.me = self


def application(environ, start_response):
    Node()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
