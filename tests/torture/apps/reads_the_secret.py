"""Looks for secrets in what it may read, and prints them."""

import os
import sys
from contextlib import suppress
from pathlib import Path

EXPECT = {"pass", "fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"
for name in [str(RUN.parent.parent / "victim" / "secret")] + [
    "/proc/%s/environ" % pid for pid in os.listdir("/proc") if pid.isdigit()
]:
    with suppress(OSError), open(name, "rb") as file:
        if b"secret of the victim" in file.read():
            sys.stderr.write("the secret of the victim was in %s\n" % name)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
