"""One answer in forty has a header value outside Latin-1, and that request ends with a 500."""

import itertools

COUNT = itertools.count(1)
NAMES = ["Smith"] * 39 + ["\u0141ukasz"]


def application(environ, start_response):
    name = NAMES[next(COUNT) % len(NAMES)]
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-User", name)])
    return [b"hello"]
