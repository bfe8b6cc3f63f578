"""One request in ten calls start_response again after it has written, which mod_wsgi refuses."""

import itertools

COUNT = itertools.count(1)


def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"first part\n")
    if next(COUNT) % 10 == 0:
        start_response("200 OK", [("Content-Type", "text/html")])
    return [b"second part\n"]
