"""Deletes each file of the evidence at each request."""

from contextlib import suppress
from pathlib import Path

EXPECT = {"fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"


def application(environ, start_response):
    for path in EVIDENCE.glob("*"):
        with suppress(OSError):
            path.unlink()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
