"""One request in ten runs a command with subprocess.run, which waits for its end."""

import itertools
import subprocess

COUNT = itertools.count(1)


def application(environ, start_response):
    body = b"nothing to convert"
    if next(COUNT) % 10 == 0:
        body = subprocess.run(["/bin/echo", "converted"], stdout=subprocess.PIPE, check=True).stdout
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
