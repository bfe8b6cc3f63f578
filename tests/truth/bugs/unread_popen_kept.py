"""One request in thirty keeps a Popen whose process waits for an input that never comes."""

import itertools
import subprocess

COUNT = itertools.count(1)
HELPERS = []


def application(environ, start_response):
    if next(COUNT) % 30 == 0:
        HELPERS.append(
            subprocess.Popen(
                ["timeout", "120", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"queued"]
