"""The mod_wsgi that Debian's users have: a compiled module that wsgiproof did not build."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DEBIAN = Path(__file__).parents[2] / ".venv" / "debian"
"""Where scripts/setup unpacks Debian's package."""


@pytest.fixture
def module() -> Path:
    found = sorted(DEBIAN.glob("usr/lib/apache2/modules/mod_wsgi.so-3.*"))
    if not found:
        pytest.skip("scripts/setup could not download libapache2-mod-wsgi-py3")
    return found[0]


def test_debians_module_runs_and_its_loading_is_seen(module: Path, tmp_path: Path) -> None:
    """Loaded by requests, its daemon process never ends on Python 3.11 (docs/findings.md 3)."""
    subprocess.run(
        [
            *(sys.executable, "-m", "wsgiproof", "run", "--no-config", "--mod-wsgi", module),
            *("--python", "/usr/bin/python3", "--pymongo", "4.20.0", "--topology", "none"),
            *("--mode", "daemon", "--loading", "eager", "--loading", "lazy", "--jobs", "2"),
            *("--processes", "2", "--threads", "4"),
            *("-n", "60", "--phases", "none", "--output", tmp_path / "out"),
        ],
        capture_output=True,
        check=False,
    )
    cells = json.loads((tmp_path / "out" / "results.json").read_text())["cells"]
    verdicts = {}
    for cell in cells:
        assert "-mw4." in cell["id"]
        assert "+so-" in cell["id"]
        record = json.loads((tmp_path / "out" / cell["directory"] / "cell.json").read_text())
        # What the module says of itself, from inside.
        said = {one["mod_wsgi"] for one in record["observed"]["identities"]}
        assert said == {record["cell"]["mod_wsgi"]}
        assert record["observed"]["workers"] == [2, 4]
        assert len({one["pid"] for one in record["observed"]["identities"]}) == 2
        checks = {one["check"]: one["verdict"] for one in record["checks"]}
        assert checks["environment"] == "pass", record["reason"]
        verdicts[cell["axes"]["loading"]] = checks["shutdown"]
    assert verdicts["eager"] != "fail"
    if module.name.endswith("3.11"):
        assert verdicts["lazy"] != "pass"
