"""Several Apaches in one run, and virtual hosts, in real cells."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.real.command import RUN
from tests.real.test_cells import why
from wsgiproof.provision.httpd import find_httpd
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import load_run
from wsgiproof.records.run import CellRecord

SHORT = ["--no-config", "-n", "100", "--phases", "none", "--jobs", "1"]
NO_DEPLOYMENT = ["--topology", "none"]


def run(output: Path, *options: str) -> tuple[CellRecord, ...]:
    subprocess.run([*RUN, *SHORT, *options, "--output", str(output)], check=False)
    return load_run(output).cells


@pytest.fixture
def copied(open_tmp: Path) -> Path:
    """A second Apache: the server and the apxs of this machine, in another place."""
    httpd = find_httpd()
    if httpd is None:
        pytest.skip("this machine has no Apache to be copied")
    open_tmp.chmod(0o755)
    for program, name in ((httpd.httpd, "httpd"), (httpd.apxs, "apxs")):
        shutil.copy(program, open_tmp / name)
    return open_tmp / "httpd"


def test_each_apache_serves_cells_of_its_own_with_its_own_mod_wsgi(
    copied: Path, tmp_path: Path
) -> None:
    httpd = find_httpd()
    assert httpd is not None
    servers = (str(httpd.httpd), str(copied))
    named = [word for one in servers for word in ("--httpd", one)]
    cells = run(tmp_path / "out", "--mode", "daemon", *NO_DEPLOYMENT, *named)
    for record in cells:
        assert record.verdict is Verdict.PASS, why(record)
        assert record.toolchain["httpd"] == record.cell.httpd_path
        assert record.toolchain["httpd_version"] == record.cell.httpd == httpd.version
        assert f"--httpd {record.cell.httpd_path} " in record.rerun
        assert f"-httpd{httpd.version}-" in record.cell.id
    assert {record.cell.httpd_path for record in cells} == {*servers}
    assert len({record.toolchain["mod_wsgi"] for record in cells}) == 2


@pytest.mark.parametrize(
    ("mode", "loading", "number"),
    [
        (("daemon", "embedded"), "eager", 2),
        # In daemon mode such a process never ends with these versions (docs/findings.md, 3).
        (("embedded",), "lazy", 1),
    ],
)
def test_each_interpreter_is_that_of_a_virtual_host(
    tmp_path: Path, mode: tuple[str, ...], loading: str, number: int
) -> None:
    """The check environment proves when scripts are loaded."""
    modes = [word for one in mode for word in ("--mode", one)]
    options = ["--virtual-hosts", *NO_DEPLOYMENT, *modes, "--loading", loading]
    cells = run(tmp_path / "out", *options)
    assert len(cells) == number
    for record in cells:
        assert record.verdict is Verdict.PASS, why(record)
        assert record.observed is not None
        groups = {str(one.application_group) for one in record.observed.identities}
        assert {re.sub(r":\d+\|", " ", group) for group in groups} == {
            f"interpreter{number}.localhost /interpreter{number}" for number in (1, 2)
        }
        (check,) = (one for one in record.checks if one.check == "interpreters")
        assert check.verdict is Verdict.PASS


def test_virtual_hosts_that_share_an_interpreter_are_found(tmp_path: Path) -> None:
    control = ["--control", "one-interpreter", "--mode", "daemon", "--topology", "standalone"]
    (record,) = run(tmp_path / "out", "--virtual-hosts", *control)
    assert [finding.check for finding in record.findings] == ["interpreters"], why(record)
