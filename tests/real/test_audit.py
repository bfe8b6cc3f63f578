"""``wsgiproof audit`` on planted packages: each has its outcome; hostile ones are contained."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.auditing import AUDIT, audited, outcomes, usable
from tests.real.command import soon, started
from tests.real.planted import HOSTILE, MIXED, PYTHON, C, Site

OUTSIDE = Path("/tmp/wsgiproof-planted")
"""What a planted package tries to write."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that an unprivileged user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="wp-test-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def planted(place: Path) -> dict[str, dict[str, Any]]:
    """What the planted packages do under a shared GIL."""
    site = Site(usable("3.10"), place / "planted")
    for name, source in C.items():
        site.add_c(name, source)
    for name, source in PYTHON.items():
        site.add(name, {f"{name}.py": source})
    for name, (source, text) in MIXED.items():
        site.add_mixed(name, source, text)
    site.add_fallback("falls_back")
    return outcomes(audited(site, place, "--trials", "2", code=1))


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("clean", "works", ""),
        ("single_phase", "works", ""),
        ("refuses_by_slot", "works", ""),
        ("harmless_flags", "works", ""),
        ("thread_ends", "works", ""),
        ("thread_goes_on", "unknown", "can't be ended then: goes on"),
        (
            "one_interpreter",
            "refuses",
            "one_interpreter can't be imported in the second sub interpreter: "
            "ImportError: only one interpreter may load this",
        ),
        ("falls_back", "degrades", "missing in the second sub interpreter: falls_back._fast"),
        ("flags", "degrades", "missing in the sub interpreters: flags.HAVE_SPEED"),
        ("static_state", "degrades", "missing in the second sub interpreter: static_state.HAVE"),
        ("module_state", "works", ""),
        ("registers_once", "works", ""),
        (
            "static_type",
            "refuses",
            "static_type can't be imported in the second sub interpreter: Error: of the first",
        ),
        ("module_type", "works", ""),
        ("gil_state", "degrades", "missing in the sub interpreters: gil_state.HAVE_THREADS"),
        ("thread_state", "works", ""),
        ("crashes", "crashes", "died of SIGSEGV (signal 11) while it imported crashes in sub"),
        ("exits", "crashes", "ended with exit code 3 while it imported exits in sub"),
        ("crashes_at_the_end", "crashes", "while sub interpreter 1 ended (2 of 2 processes)"),
        ("leaves_memory", "leaks", "each interpreter that ends leaves 24."),
        ("leaves_little", "works", ""),
        ("frees_memory", "works", ""),
        ("hangs", "hangs", "was still running after 8 s while it imported hangs in sub"),
        ("depends", "refuses", "depends can't be imported in the second sub interpreter"),
        ("broken", "unknown", "fails in main too: ModuleNotFoundError: No module named"),
    ],
)
def test_each_planted_package_has_its_outcome(
    planted: dict[str, dict[str, Any]], name: str, outcome: str, reason: str
) -> None:
    found = planted[name]
    assert (found["outcome"], reason in found["reason"]) == (outcome, True), found["reason"]


def test_a_dependency_is_named(planted: dict[str, dict[str, Any]]) -> None:
    assert planted["depends"]["cause"] == "one_interpreter"
    assert planted["one_interpreter"]["cause"] == ""


def test_ends_are_counted_with_their_bound(planted: dict[str, dict[str, Any]]) -> None:
    assert planted["crashes_at_the_end"]["ends"].startswith("2 of 2 process ends crashed")
    assert planted["clean"]["ends"].startswith("none of 2 process ends crashed: under 77.6 %")


def test_memory_below_the_limit_is_a_note(planted: dict[str, dict[str, Any]]) -> None:
    (note,) = planted["leaves_little"]["notes"]
    assert note.startswith("each interpreter that ends leaves 6.")
    assert planted["frees_memory"]["notes"] == []


@pytest.fixture(scope="module")
def hostile(place: Path) -> dict[str, Any]:
    """The record of the hostile packages, none of which may reach a server on this machine."""
    site = Site(usable("3.10"), place / "hostile")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        for name, source in HOSTILE.items():
            site.add(name, {f"{name}.py": source.replace("PORT", port)})
        record = audited(site, place, "--trials", "1", code=3)
        server.setblocking(False)
        if "network" not in record["environments"][0]["not_confined"]:
            with pytest.raises(BlockingIOError):
                server.accept()
    return record


def test_hostile_packages_are_contained(hostile: dict[str, Any]) -> None:
    found = outcomes(hostile)
    told = {name: (one["outcome"], one["reason"]) for name, one in found.items()}
    for name, why in {
        "exits_at_once": "ended with exit code 0 while it imported exits_at_once",
        "sleeps": "was still running after 8 s while it imported sleeps",
        "fills_the_disk": "OSError",
        "forks": "BlockingIOError",
        "forges": "ended with exit code 0",
    }.items():
        assert told[name][0] == "unknown" and why in told[name][1], told[name]
    assert told["kills_its_parent"][0] == "unknown"
    assert told["prints"][0] == "works"
    assert told["daemonizes"][0] == "works"
    # It may not have become another program yet.
    left = ("sleep", "python")
    notes = {f"it left processes running, which were killed: {name}" for name in left}
    assert notes & {*found["daemonizes"]["notes"]}
    if "files" not in hostile["environments"][0]["not_confined"]:
        assert told["writes_elsewhere"][0] == "unknown"
        assert "Read-only file system" in told["writes_elsewhere"][1]
        assert not OUTSIDE.exists()
    OUTSIDE.unlink(missing_ok=True)


def test_the_probe_is_not_run_by_root(hostile: dict[str, Any]) -> None:
    found = outcomes(hostile)
    assert found["is_root"]["outcome"] == "works"
    assert "PermissionError" in found["reads_passwords"]["reason"]


def test_ctrl_c_leaves_nothing(place: Path) -> None:
    site = Site(usable("3.10"), place / "interrupted")
    site.add("sleeps", {"sleeps.py": HOSTILE["sleeps"]})
    tmp = Path(tempfile.mkdtemp(dir=place))
    tmp.chmod(0o711)
    command = [*AUDIT, "--env", str(site.home), "--all", "--timeout", "100"]
    with started(tmp, command=command) as running:
        running.wait_for("trying 1 distribution", 60)
        assert soon(lambda: any("/probe.py" in one for one in running.left_behind()), 30)
        running.interrupt()
        assert running.finish(60) == 130
        assert "interrupted; everything that was started has been stopped" in running.text
        assert running.nothing_left()
        assert list((tmp / "scratch").iterdir()) == []


def test_an_interrupted_audit_is_resumed(place: Path) -> None:
    site = Site(usable("3.10"), place / "resumed")
    flag = place / "wait"
    waits = f"import os, time\nif os.path.exists({str(flag)!r}):\n    time.sleep(100)\n"
    site.add("at_once", {"at_once.py": ""})
    site.add("waits", {"waits.py": waits})
    flag.touch()
    tmp = Path(tempfile.mkdtemp(dir=place))
    tmp.chmod(0o711)
    asked = [*AUDIT, "--env", str(site.home), "--all", "--trials", "1", "--jobs", "1"]
    saved = tmp / "out" / "audit.json"

    def record() -> Any:
        return json.loads(saved.read_bytes())

    def finished() -> list[str]:
        environments = record()["environments"] if saved.exists() else []
        return [one["name"] for environment in environments for one in environment["control"]]

    with started(tmp, command=asked) as running:
        assert soon(lambda: finished() == ["at_once"], 60)
        running.process.terminate()
        assert running.finish(60) == 130
        assert running.nothing_left()
        assert "Not tried: 1 of 2." in running.text and "with --resume goes on" in running.text
    before = record()
    assert not before["complete"]
    flag.unlink()

    def resumed(*options: str) -> subprocess.CompletedProcess[str]:
        again = [*asked, "--resume", str(tmp / "out"), *options]
        return subprocess.run(again, capture_output=True, text=True)

    done = resumed("--timeout", "59")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the audit can't be resumed: --timeout is not what it was" in done.stderr
    done = resumed()
    assert done.returncode == 0, done.stderr
    assert "trying 1 distribution on" in done.stdout and ", 1 finished before" in done.stdout
    after = record()
    assert after["complete"] and finished() == ["at_once", "waits"]
    (then,), (now,) = before["environments"], after["environments"]
    for part in ("control", "results"):
        assert now[part][0] == then[part][0]
    assert (tmp / "out" / "audit.html").exists()
    site.add("at_once", {"at_once.py": "changed = True\n"})
    done = resumed()
    assert done.returncode == 2
    assert (
        done.stderr == "wsgiproof: the audit can't be resumed: a file of at_once 1.0 has changed\n"
    )
    assert record() == after


def test_packages_from_the_index(place: Path) -> None:
    file = place / "requirements.txt"
    file.write_text("markupsafe==3.0.2  # compiled\niniconfig==99.0\n")
    python = usable("3.10")
    assert python is not None
    done = subprocess.run(
        [*AUDIT, "-r", str(file), "--python", python.path, "--trials", "2", "--json",
         "-o", str(place / "from-the-index")],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    found = outcomes(json.loads(done.stdout))
    assert {name: (one["version"], one["outcome"]) for name, one in found.items()} == {
        "MarkupSafe": ("3.0.2", "works"),
        "iniconfig": ("99.0", "not installable"),
    }
    assert "MarkupSafe" in done.stderr and "not installable" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([], 2, "name packages, a file with -r, a project with --project, or an environment with"),
        (["markupsafe", "--project", "."], 2, "one of them"),
        (["--project", "."], 2, "--project .: it has no pyproject.toml"),
        (["markupsafe", "--extra", "more"], 2, "--extra needs --project"),
        (["markupsafe", "--resume", "."], 2, ". holds no audit: it has no audit.json"),
        (["markupsafe", "--resume", ".", "-o", "out"], 2, "leave --output out"),
        (["markupsafe", "--env", "."], 2, "one of them"),
        (["--env", ".", "--python", "3.11"], 2, "leave --python out"),
        (["--env", ".", "--dask", "local"], 2, "--env is for this machine alone"),
        (["markupsafe", "--deep", "--dask", "local"], 2, "--deep is for this machine alone"),
        (["markupsafe", "--python", "3.11", "--dask", "a b"], 2, "--dask a b: give 'local'"),
        (["--env", "/nowhere"], 2, "there is no environment at /nowhere"),
        (["--interpreter", "own", "markupsafe"], 2, "did you mean 'own-gil'?"),
        (["flask 3.1"], 2, "'flask 3.1' is not a requirement, such as flask==3.1"),
        (["-r", "/nowhere.txt"], 2, "--requirement /nowhere.txt: No such file"),
        (["--python", "3.11", "--interpreter", "own-gil", "markupsafe"], 2, "use 3.12 or newer"),
        (["--releases", "3", "markupsafe"], 2, "--releases is for --find-working"),
        (["--mod-wsgi", "5.0.2", "markupsafe"], 2, "--mod-wsgi is for --deep"),
        (["--deep", "--mod-wsgi", "0.1", "markupsafe"], 2, "there is no mod-wsgi 0.1"),
        (
            ["--python", "3.11", "--interpreter", "free-threaded", "markupsafe"],
            2,
            "is not built without a GIL (--disable-gil)",
        ),
    ],
)
def test_a_wrong_command_line_has_one_clear_line(
    tmp_path: Path, options: list[str], code: int, told: str
) -> None:
    done = subprocess.run([*AUDIT, *options], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert told in line
    assert list(tmp_path.iterdir()) == []
