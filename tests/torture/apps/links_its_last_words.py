"""Puts a link to another's secret in the place of its own last words, and dies."""

import itertools
import os
from contextlib import suppress
from pathlib import Path

EXPECT = {"fail"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"
SECRET = RUN.parent.parent / "victim" / "secret"
NUMBER = itertools.count()


def application(environ, start_response):
    if next(NUMBER) == 5:
        for name in ("fatal-%d.txt" % os.getpid(), "leftover-%d.txt" % os.getpid()):
            with suppress(OSError):
                os.unlink(EVIDENCE / name)
            with suppress(OSError):
                os.symlink(SECRET, EVIDENCE / name)
        os.kill(os.getpid(), 11)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
