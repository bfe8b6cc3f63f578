"""Puts a link to another's directory in the place of the evidence."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

EXPECT = {"pass", "fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"

with suppress(OSError):
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    os.symlink(RUN.parent.parent / "victim", EVIDENCE)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
