"""One request in forty starts a job with the shell's "&", and nobody ever ends it."""

import itertools
import subprocess

COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 40 == 0:
        subprocess.run(["/bin/sh", "-c", "sleep 120 >/dev/null 2>&1 &"], check=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"started"]
