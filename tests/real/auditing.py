"""Audits environments with planted packages by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.version import Version

from tests.real.command import nobody_is_left
from tests.real.planted import Site
from wsgiproof.process.account import server_account
from wsgiproof.provision.python import installed, why_unusable
from wsgiproof.provision.toolchain import Python

AUDIT = [sys.executable, "-m", "wsgiproof", "audit"]
TIMEOUT = "8"
"""Seconds that a package may hang."""


def usable(oldest: str) -> Python:
    """The first Python of this machine that an audit can use, of this version or a newer one."""
    return next(
        python
        for python in installed()
        if Version(python.version) >= Version(oldest)
        and not python.free_threaded
        and not why_unusable(python, server_account())
    )


def audited(site: Site, place: Path, *options: str, code: int) -> dict[str, Any]:
    """The record of an audit of this environment, after a check of the exit code."""
    scratch = Path(tempfile.mkdtemp(dir=place))
    scratch.chmod(0o711)
    done = subprocess.run(
        [*AUDIT, "--env", str(site.home), "--json", "--all", "--timeout", TIMEOUT, "--jobs", "3",
         "-o", str(scratch / "out"), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert nobody_is_left(scratch)
    assert [path.name for path in scratch.iterdir()] == ["out"]
    record: dict[str, Any] = json.loads(done.stdout)
    assert json.loads((scratch / "out" / "audit.json").read_bytes()) == record
    return record


def outcomes(record: dict[str, Any], kind: str = "shared-gil") -> dict[str, dict[str, Any]]:
    (environment,) = record["environments"]
    return {one["name"]: one for one in environment["results"] if one["kind"] == kind}
