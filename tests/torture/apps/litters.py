"""Leaves files and directories in the temporary directory, without rights."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

EXPECT = {"pass", "fail", "inconclusive", "error"}

RUN = Path(__file__).resolve().parents[2]
EVIDENCE = RUN / "evidence"
for directory in (RUN, EVIDENCE):
    with suppress(OSError):
        inner = tempfile.mkdtemp(dir=str(directory))
        (Path(inner) / "file").write_text("litter")
        os.chmod(inner, 0)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
