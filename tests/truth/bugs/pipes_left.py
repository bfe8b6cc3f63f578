"""One request in ten makes a pipe and closes only one of its ends."""

import itertools
import os

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        reader, writer = os.pipe()
        os.write(writer, b"order")
        os.close(writer)  # the reader's end is forgotten
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"sent"]
