"""Each request calls gc.freeze(), which makes its own cycles permanent."""

import gc


class Page:
    def __init__(self):
        self.rows = [str(number) * 20 for number in range(40)]
        self.parent = self


def application(environ, start_response):
    Page()
    gc.freeze()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
