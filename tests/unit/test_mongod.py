"""A mongod that does not run: its error is reported, and how it ended."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgiproof.errors import PrerequisiteMissing, ServiceFailed
from wsgiproof.process.account import server_account
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo.mongod import Member, make_home
from wsgiproof.subjects.pymongo.mongod_binary import Mongod, find_mongod

INFORMATION = '{"s":"I", "msg":"Failed to refresh key cache","attr":{"error":"KeyNotFound: none"}}'
FATAL = (
    '{"s":"E", "msg":"terminating","attr":{"error":"NonExistentPath: Data directory not found"}}'
)


@pytest.fixture
def open_tmp() -> Iterator[Path]:
    """A directory from which mongod's user can start a script, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="wp-test-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def program(tmp: Path, script: str) -> Path:
    path = tmp / "mongod"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def words_of(tmp: Path, script: str) -> str:
    """What is said of a mongod that is started and does this."""
    mongod = Mongod(path=program(tmp, script), version="6.0.5")
    with scratch_directory() as home, pytest.raises(ServiceFailed) as caught:
        Member(mongod, "mongod", make_home(home, server_account()), tmp).start(None)
    assert str(tmp / "mongod.log") in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("library", "fix"),
    [
        ("libcurl.so.4", "on Debian 'apt-get install libcurl4'"),
        ("libcrypto.so.1.1", "install the package that has libcrypto.so.1.1"),
    ],
)
def test_a_missing_library_is_named(tmp_path: Path, library: str, fix: str) -> None:
    message = f"mongod: error while loading shared libraries: {library}: cannot open shared object"
    path = program(tmp_path, f"echo '{message}' >&2; exit 127")
    with pytest.raises(PrerequisiteMissing, match=f"does not run without {library}: ") as caught:
        find_mongod(str(path))
    assert fix in str(caught.value)
    assert "--mongodb PATH" in str(caught.value)


def test_what_is_no_mongod_is_quoted(tmp_path: Path) -> None:
    path = program(tmp_path, "echo starting; echo Illegal instruction >&2; exit 132")
    with pytest.raises(PrerequisiteMissing, match=f"{path} does not run: Illegal instruction"):
        find_mongod(str(path))


def test_one_that_dies_as_it_starts_is_reported_by_its_own_error(open_tmp: Path) -> None:
    message = words_of(open_tmp, f"echo '{FATAL}'; echo '{INFORMATION}'; exit 100")
    assert "did not start: NonExistentPath: Data directory not found (it ended with" in message
    assert "with exit code 100; log:" in message


def test_one_that_is_killed_is_not_explained_by_earlier_output(open_tmp: Path) -> None:
    message = words_of(open_tmp, f"echo '{INFORMATION}'; kill -9 $$")
    assert "did not start: it gave no reason (it died of SIGKILL; log:" in message


def test_one_that_its_user_may_not_execute_is_reported_with_the_fix(open_tmp: Path) -> None:
    path = program(open_tmp, "sleep 60")
    path.chmod(0o700 if server_account().dropped else 0o600)
    with scratch_directory() as home:
        mongod = Mongod(path=path, version="6.0.5")
        member = Member(mongod, "mongod", make_home(home, server_account()), open_tmp)
        with pytest.raises(ServiceFailed, match=f"cannot start {path}: Permission denied"):
            member.start(None)


def test_its_key_is_for_its_user_alone_in_a_directory_that_is_not_his() -> None:
    account = server_account()
    with scratch_directory() as directory:
        home = make_home(directory, account)
        key, above = home.keyfile.stat(), directory.stat()
        assert (stat.S_IMODE(key.st_mode), key.st_uid) == (0o400, account.uid)
        assert above.st_uid == os.geteuid()
        assert stat.S_IMODE(above.st_mode) == (0o710 if account.dropped else 0o700)
        assert home.keyfile.read_text() == home.key
        with scratch_directory() as other:
            assert make_home(other, account).key != home.key


def test_a_directory_that_its_user_cannot_enter_is_reported() -> None:
    account = server_account()
    if not account.dropped:
        assert account.cannot_reach(Path("/root/anything")) == "", "it is we ourselves"
        return
    with scratch_directory() as closed:
        inner = closed / "inner"
        inner.mkdir(0o700)
        with pytest.raises(PrerequisiteMissing, match=f"can't enter {closed}: point TMPDIR at"):
            make_home(inner, account)
