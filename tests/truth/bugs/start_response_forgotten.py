"""One branch, taken by one request in fifteen, returns a body without calling start_response."""

import itertools

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 15 == 0:
        return [b"cached"]  # the headers were forgotten here
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fresh"]
