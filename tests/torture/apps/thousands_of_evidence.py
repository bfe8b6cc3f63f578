"""Leaves thousands of files and deep directories as evidence."""

import os
from contextlib import suppress
from pathlib import Path

EXPECT = {"pass", "fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"
with suppress(OSError):
    for number in range(3000):
        (EVIDENCE / f"fatal-{number}.txt").write_text("words")
    deep = EVIDENCE
    os.chdir(EVIDENCE)
    for number in range(200):
        os.mkdir("deep" * 20)
        os.chdir("deep" * 20)
    os.chdir("/")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
