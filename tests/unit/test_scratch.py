"""Directories for a server, those that go with it and those that are left to the user."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import pytest

from tests.cells import CELL, cell_with
from wsgiproof.errors import CannotRun, PrerequisiteMissing, UsageError
from wsgiproof.files import Directory
from wsgiproof.process.account import server_account
from wsgiproof.process.guard.removal import remove_tree
from wsgiproof.records.cell import InterpreterKind, Loading
from wsgiproof.server.scratch import lasting_directory, scratch_directory
from wsgiproof.subjects.application import compile_agent, lay_out

ACCOUNT = server_account()


@pytest.fixture
def parent() -> Iterator[Path]:
    """One that Apache's user can enter, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def test_a_scratch_directory_goes_with_its_context_and_a_lasting_one_stays() -> None:
    with scratch_directory(ACCOUNT) as scratch:
        assert scratch.is_dir()
    assert not scratch.exists()
    lasting = lasting_directory(None, ACCOUNT)
    assert lasting.is_dir()
    lasting.rmdir()


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_of_the_users_choice_is_ours_and_apaches_user_may_enter(
    parent: Path, there: bool
) -> None:
    wanted = parent / "deep" / "er"
    if there:
        wanted.mkdir(parents=True)
    assert lasting_directory(wanted, ACCOUNT) == wanted
    assert_entered_by_apaches_user(wanted)


def assert_entered_by_apaches_user(directory: Path) -> None:
    status = directory.stat()
    assert status.st_uid == os.geteuid()
    if ACCOUNT.dropped:
        assert (status.st_mode & 0o7777, status.st_gid) == (0o710, ACCOUNT.gid)
    else:
        assert status.st_mode & 0o7777 == 0o700


@pytest.fixture(params=[0o000, 0o022, 0o277], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_whatever_the_umask_only_the_evidence_can_be_written_by_apaches_user() -> None:
    cell = cell_with(CELL, app=str(Path(__file__).with_name("hostile.py")))
    with scratch_directory(ACCOUNT) as scratch:
        assert_entered_by_apaches_user(scratch)
        laid_out = lay_out(cell, scratch, {"uri": "mongodb://user:secret@h/"}, ACCOUNT)
        modes = {
            path: path.lstat() for path in [laid_out.directory, *laid_out.directory.rglob("*")]
        }
        evidence = laid_out.evidence.lstat()
    assert {status.st_uid for status in modes.values()} == {os.geteuid()}
    assert {status.st_gid for status in modes.values()} == {ACCOUNT.gid}
    assert {
        status.st_mode & 0o7777 for path, status in modes.items() if stat.S_ISDIR(status.st_mode)
    } == {0o750}
    assert {
        status.st_mode & 0o7777 for status in modes.values() if stat.S_ISREG(status.st_mode)
    } == {0o640}
    assert (evidence.st_mode & 0o7777, evidence.st_uid) == (0o700, ACCOUNT.uid)


def test_apaches_user_may_read_the_compiled_agent_and_nobody_else() -> None:
    with scratch_directory(ACCOUNT) as scratch:
        laid_out = lay_out(CELL, scratch, {}, ACCOUNT)
        compile_agent(laid_out, sys.executable, ACCOUNT)
        sources = list(laid_out.directory.rglob("*.py"))
        compiled = [Path(cache_from_source(str(path))) for path in sources]
        modes = {path.stat().st_mode & 0o7777 for path in compiled}
        folders = {path.parent.stat().st_mode & 0o7777 for path in compiled}
        groups = {path.stat().st_gid for path in compiled}
    assert len(sources) > 30
    assert (modes, folders, groups) == ({0o640}, {0o750}, {ACCOUNT.gid})


PLANT = """
import os, sys
directory, victim = sys.argv[1:]
for name in ("app", "evidence", "httpd.events", "httpd.pid", "cores"):
    try:
        os.symlink(victim, os.path.join(directory, name))
    except OSError as error:
        print(error.errno)
    else:
        print("planted")
"""


def as_apaches_user(code: str, *arguments: object) -> str:
    """What a process of that user prints."""
    python = next(path for path in ("/usr/bin/python3", sys.executable) if Path(path).exists())
    return subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd="/",
        user=ACCOUNT.uid if ACCOUNT.dropped else None,
        group=ACCOUNT.gid if ACCOUNT.dropped else None,
        extra_groups=[] if ACCOUNT.dropped else None,
    ).stdout


def test_what_apaches_user_plants_before_it_is_filled_is_never_followed(parent: Path) -> None:
    """As an application in one cell may do it to the run directory of another one."""
    victim = parent / "victim"
    victim.mkdir(mode=0o700)
    (victim / "secret").write_text("ours")
    (victim / "secret").chmod(0o600)
    with scratch_directory(ACCOUNT) as scratch:
        printed = as_apaches_user(PLANT, scratch, victim).split()
        if ACCOUNT.dropped:
            assert printed == [str(errno.EACCES)] * 5
            lay_out(CELL, scratch, {}, ACCOUNT)
        else:  # the same user: nothing keeps it away, and still no link is followed
            with pytest.raises(FileExistsError):
                lay_out(CELL, scratch, {}, ACCOUNT)
    assert [path.name for path in victim.iterdir()] == ["secret"]
    assert (victim / "secret").stat().st_mode & 0o777 == 0o600
    assert victim.stat().st_mode & 0o777 == 0o700


SWAP = """
import os, sys
(directory,) = sys.argv[1:]
for act in (
    lambda: os.rename(directory + "/evidence", directory + "/away"),
    lambda: os.rmdir(directory + "/evidence"),
    lambda: open(directory + "/app/settings.json", "a"),
    lambda: os.unlink(directory + "/app/settings.json"),
    lambda: os.listdir(directory),
    lambda: open(directory + "/evidence/mine", "w"),
):
    try:
        act()
    except OSError as error:
        print(error.errno)
    else:
        print("done")
"""


@pytest.mark.skipif(not ACCOUNT.dropped, reason="an ordinary user's Apache is that user")
def test_the_evidence_can_be_neither_removed_nor_replaced_and_nothing_else_written() -> None:
    with scratch_directory(ACCOUNT) as scratch:
        lay_out(CELL, scratch, {}, ACCOUNT)
        printed = as_apaches_user(SWAP, scratch).split()
    assert printed == [str(errno.EACCES)] * 5 + ["done"]


def test_removal_follows_no_link_and_minds_no_depth(parent: Path) -> None:
    victim = parent / "victim"
    victim.mkdir()
    (victim / "kept").touch()
    doomed = parent / "doomed"
    doomed.mkdir()
    (doomed / "link").symlink_to(victim)
    (doomed / "closed" / "inner").mkdir(parents=True)
    (doomed / "closed" / "inner").chmod(0)
    (doomed / "closed").chmod(0)
    (doomed / "full").mkdir()
    os.mkfifo(doomed / "full" / "fifo")
    with Directory(doomed) as top:  # a path would be too long
        below = top
        for number in range(1500):
            deeper = below.make(f"{number}")
            deeper.write("file", b"")
            if below is not top:
                below.close()
            below = deeper
        below.close()
    remove_tree(str(doomed))
    assert not doomed.exists()
    assert (victim / "kept").exists()


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_scratch_space_that_others_could_replace_is_refused_in_one_line(
    parent: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = parent / "shared"
    shared.mkdir()
    shared.chmod(mode)
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    with pytest.raises(CannotRun, match=r"is writable by others .* point TMPDIR at") as caught:
        scratch_directory().__enter__()
    assert str(shared) in str(caught.value)
    assert not list(shared.iterdir())
    shared.chmod(0o1777)
    with scratch_directory() as scratch:
        assert scratch.parent == shared
    (shared / "ours").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared / "ours"))
    with scratch_directory():
        pass
    shared.chmod(mode)
    with pytest.raises(CannotRun, match=f"{shared} belongs to another user, or is"):
        scratch_directory().__enter__()
    with pytest.raises(CannotRun, match=r"who could replace .* name another --output"):
        lasting_directory(shared / "ours", ACCOUNT)


def test_a_run_refuses_it_before_anything_is_built(parent: Path) -> None:
    parent.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-m", "wsgiproof", "run", "--no-config", "--output", "never"],
        env={**os.environ, "TMPDIR": str(parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert f"{parent} belongs to another user, or is writable by others" in line
    assert not Path("never").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else can be given a directory")
def test_a_directory_of_another_user_is_refused(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = parent / "theirs"
    theirs.mkdir()
    os.chown(theirs, ACCOUNT.uid, ACCOUNT.gid)
    monkeypatch.setattr(tempfile, "tempdir", str(theirs))
    with pytest.raises(CannotRun, match=f"{theirs} belongs to another user"):
        scratch_directory(ACCOUNT).__enter__()
    with pytest.raises(CannotRun, match=f"{theirs} belongs to another user"):
        lasting_directory(theirs, ACCOUNT)
    assert theirs.stat().st_mode & 0o777 == 0o755


def test_what_is_there_already_is_not_written_over(parent: Path) -> None:
    (parent / "file").touch()
    with pytest.raises(UsageError, match="is not empty: name another --output"):
        lasting_directory(parent, ACCOUNT)
    assert parent.stat().st_mode & 0o777 == 0o711


def test_a_path_that_is_too_long_for_a_socket_is_refused(parent: Path) -> None:
    with pytest.raises(PrerequisiteMissing, match="too long for the Unix sockets in it"):
        lasting_directory(parent / ("x" * 80), ACCOUNT)


COMMANDS = (
    ("list", "--no-config"),
    ("run", "--no-config"),
    ("doctor",),
    ("build", "--no-config"),
    ("build", "python", "3.98.7", "--prebuilt"),
    ("selftest",),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_temporary_directory_that_is_not_utf_8_is_one_line(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    directory = tmp_path / "x\udcff"
    directory.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "wsgiproof", *arguments],
        env={**os.environ, "TMPDIR": str(directory)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (2, 3)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "TMPDIR" in line]
    assert "x\ufffd', which is not UTF-8: point it at another" in lines[0]
    assert "Traceback" not in done.stderr
    assert not list(directory.iterdir())


def test_no_scratch_directory_is_made_where_nobody_can_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "x\udcff"))
    with pytest.raises(UsageError, match="which is not UTF-8"), scratch_directory():
        pass


@pytest.mark.parametrize(
    ("changes", "groups"),
    [
        ({}, ("interpreter1", "interpreter2")),
        ({"loading": Loading.LAZY}, ("%{RESOURCE}",) * 2),
        ({"virtual_hosts": True}, ("%{RESOURCE}",) * 2),
        (
            {"loading": Loading.LAZY, "control": "leak-connection-in-one-interpreter"},
            ("interpreter1", "interpreter2"),
        ),
        ({"virtual_hosts": True, "control": "one-interpreter"}, ("interpreter1",) * 2),
        (
            {"virtual_hosts": True, "control": "leak-connection-in-one-interpreter"},
            ("interpreter1", "interpreter2"),
        ),
        (
            {
                "virtual_hosts": True,
                "interpreter": InterpreterKind.MAIN,
                "sub_interpreters": 1,
            },
            ("%{GLOBAL}",),
        ),
    ],
)
def test_groups_are_mod_wsgis_default_or_named(
    changes: dict[str, Any], groups: tuple[str, ...]
) -> None:
    with scratch_directory(ACCOUNT) as scratch:
        assert lay_out(cell_with(CELL, **changes), scratch, {}, ACCOUNT).groups == groups
