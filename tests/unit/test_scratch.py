"""Directories for a server, those that go with it and those that are left to the user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgiproof.account import server_account
from wsgiproof.errors import NeedMissing, UsageError
from wsgiproof.scratch import lasting_directory, scratch_directory

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
def test_a_directory_of_the_users_choice_is_for_apaches_user_alone(
    parent: Path, there: bool
) -> None:
    wanted = parent / "deep" / "er"
    if there:
        wanted.mkdir(parents=True)
    assert lasting_directory(wanted, ACCOUNT) == wanted
    assert (wanted.stat().st_mode & 0o777, wanted.stat().st_uid) == (0o700, ACCOUNT.uid)


def test_what_is_there_already_is_not_written_over(parent: Path) -> None:
    (parent / "file").touch()
    with pytest.raises(UsageError, match="is not empty: name another --output"):
        lasting_directory(parent, ACCOUNT)
    assert parent.stat().st_mode & 0o777 == 0o711


def test_a_path_that_is_too_long_for_a_socket_is_refused(parent: Path) -> None:
    with pytest.raises(NeedMissing, match="too long for the Unix sockets in it"):
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
