"""One request in fifty keeps a dict of 20 KB, about 400 bytes a request."""

import itertools

COUNT = itertools.count(1)
REPORTS = []


def application(environ, start_response):
    number = next(COUNT)
    if number % 50 == 0:
        REPORTS.append({key: "row %d of %d" % (key, number) for key in range(200)})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
