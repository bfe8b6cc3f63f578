"""Deletes all evidence once it has answered often enough."""

import itertools
import shutil
from pathlib import Path

EXPECT = {"fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"
NUMBER = itertools.count()


def application(environ, start_response):
    if next(NUMBER) == 5:
        shutil.rmtree(EVIDENCE, ignore_errors=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
