"""Each request works with a temporary file or directory that is removed before the answer."""

import os
import tempfile


def application(environ, start_response):
    with tempfile.TemporaryDirectory(prefix="wsgiproof-truth-") as directory:
        path = os.path.join(directory, "page.html")
        with open(path, "w") as file:
            file.write("<p>page</p>")
        with open(path, "rb") as file:
            body = file.read()
    start_response("200 OK", [("Content-Type", "text/html")])
    return [body]
