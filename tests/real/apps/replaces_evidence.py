"""An application that puts links in the place of what we have laid out, in each run directory."""

import itertools
import os
import sys
from pathlib import Path

RUN = Path(__file__).resolve().parents[2]
number = itertools.count(1)


def attack():
    for run in RUN.parent.glob("wsgiproof-*"):
        for name in ("planted", "httpd.conf", "httpd.events"):
            attempt(os.symlink, "/etc", run / name)
        attempt(os.rename, run / "app", run / "other")
    attempt(os.rename, RUN / "evidence", RUN / "away")
    attempt(os.symlink, "/etc", RUN / "evidence")


def attempt(act, *arguments):
    try:
        act(*arguments)
    except OSError:
        return
    sys.stderr.write(f"attack succeeded: {act.__name__} {arguments[-1]}\n")


def application(environ, start_response):
    if next(number) == 50:
        attack()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]
