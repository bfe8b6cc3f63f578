"""One answer in a hundred has an empty body, because an iterator is shared and already used up."""

import itertools

PAGES = itertools.cycle([b"page"] * 99 + [b""])


def application(environ, start_response):
    body = next(PAGES)
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
