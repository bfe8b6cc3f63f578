"""Leaves evidence whose names make no sense."""

import os
from contextlib import suppress
from pathlib import Path

EXPECT = {"pass", "fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"
for name in (
    b"requests-x-y",
    b"requests-",
    b"fatal-.txt",
    b"fatal-not a number.txt",
    b"leftover-99999999999999999999.txt",
    b"identity-\xff\xfe.txt",
    b"requests-1-\x1b[31m",
    b"core-\n",
):
    with suppress(OSError), open(os.fsencode(EVIDENCE) + b"/" + name, "wb") as file:
        file.write(b"1 2 3\n\xff\xfe { [\0\n" * 50)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
