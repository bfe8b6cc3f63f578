"""Writes over the files of the probe while it uses them."""

from contextlib import suppress
from pathlib import Path

EXPECT = {"pass", "fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"


def application(environ, start_response):
    for path in EVIDENCE.glob("*"):
        with suppress(OSError), path.open("r+b") as file:
            file.write(b"\xff 1 2 \x1b[31m garbage\n" * 20)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
