"""Renames what lies in its run directory and puts links there."""

import os
from contextlib import suppress
from pathlib import Path

EXPECT = {"pass", "fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"
VICTIM = RUN.parent.parent / "victim"
for name in ("app", "evidence", "httpd.conf", "httpd.pid"):
    with suppress(OSError):
        os.rename(RUN / name, RUN / (name + ".old"))
        os.symlink(VICTIM, RUN / name)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
