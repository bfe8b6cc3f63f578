"""mod_wsgi before 4, from the source tree that WSGIPROOF_MOD_WSGI_3 names, else from its git
repository: the package index has none."""

from __future__ import annotations

import os
from pathlib import Path

from tests.python27.test_python569 import BROKEN, MENDED, failed, run_cell
from wsgiproof.provision.toolchain import Python

SOURCE = os.environ.get(
    "WSGIPROOF_MOD_WSGI_3", "git+https://github.com/GrahamDumpleton/mod_wsgi@3.5"
)


def test_it_is_built_and_serves(python27: Python, open_tmp: Path) -> None:
    record = run_cell(open_tmp, python27, MENDED, mod_wsgi=SOURCE)
    assert record.cell.mod_wsgi.startswith("3.")
    checks = {check.check: check.verdict for check in record.checks}
    assert checks["environment"] == "pass", "it says its version itself"
    assert failed(record) == set()


def test_python_569_is_found_with_it_too(python27: Python, open_tmp: Path) -> None:
    record = run_cell(open_tmp, python27, BROKEN, mod_wsgi=SOURCE)
    assert failed(record) - {"error-log"} == {"roundtrip"}
