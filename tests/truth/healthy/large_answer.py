"""One answer in ten has a body of a megabyte, with the right Content-Length."""

import itertools

COUNT = itertools.count(1)
LARGE = b"0123456789abcdef" * 65536


def application(environ, start_response):
    body = LARGE if next(COUNT) % 10 == 0 else LARGE[:160]
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
