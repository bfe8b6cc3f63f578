"""Each request writes an export to a temporary file that nobody removes."""

import os
import tempfile


def export(text):
    descriptor, path = tempfile.mkstemp(prefix="wsgiproof-truth-", suffix=".csv")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return path


def application(environ, start_response):
    path = export("number;price\n" * 200)
    with open(path, "rb") as file:
        body = file.read()
    start_response("200 OK", [("Content-Type", "text/csv")])
    return [body]
