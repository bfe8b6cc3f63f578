"""One streamed answer in twenty raises after its first parts, so the client gets half of it."""

import itertools

COUNT = itertools.count(1)


def rows(number):
    for row in range(20):
        if number % 20 == 0 and row == 12:
            raise LookupError("row %d has gone" % row)
        yield b"row %d\n" % row


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/csv")])
    return rows(next(COUNT))
