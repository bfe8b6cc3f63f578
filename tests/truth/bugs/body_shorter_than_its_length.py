"""One answer in twenty has fewer bytes than its Content-Length says, as characters were counted."""

import itertools

COUNT = itertools.count(1)


def application(environ, start_response):
    body = b"price: 10 EUR"
    length = len(body)
    if next(COUNT) % 20 == 0:
        length += 2  # the length of another encoding of the same text
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(length))])
    return [body]
