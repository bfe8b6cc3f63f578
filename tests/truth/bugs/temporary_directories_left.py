"""One request in twenty leaves a temporary directory with a file in it."""

import itertools
import os
import tempfile

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 20 == 0:
        directory = tempfile.mkdtemp(prefix="wsgiproof-truth-")
        with open(os.path.join(directory, "page.html"), "w") as file:
            file.write("<p>page</p>" * 50)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"rendered"]
