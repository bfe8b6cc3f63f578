"""Each request leaves a cycle of 8 KB, which the collector frees at its usual thresholds."""


class Node:
    def __init__(self, parent=None):
        self.parent = parent
        self.text = "x" * 4096 + str(id(self))
        self.children = [] if parent else [Node(self)]


def application(environ, start_response):
    root = Node()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % len(root.children)]
