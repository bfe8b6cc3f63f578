"""A mongod that does not run: its last words are told, and how it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgiproof.errors import NeedMissing, ServiceFailed
from wsgiproof.services.mongod import Member, Mongod, find_mongod

INFORMATION = '{"s":"I", "msg":"Failed to refresh key cache","attr":{"error":"KeyNotFound: none"}}'
FATAL = (
    '{"s":"E", "msg":"terminating","attr":{"error":"NonExistentPath: Data directory not found"}}'
)


def program(tmp: Path, script: str) -> Path:
    path = tmp / "mongod"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def words_of(tmp: Path, script: str) -> str:
    """What is said of a mongod that is started and does this."""
    member = Member(Mongod(path=program(tmp, script), version="6.0.5"), "mongod", tmp, tmp)
    with pytest.raises(ServiceFailed) as caught:
        member.start(None)
    assert str(tmp / "mongod.log") in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("library", "mend"),
    [
        ("libcurl.so.4", "on Debian 'apt-get install libcurl4'"),
        ("libcrypto.so.1.1", "install the package that has libcrypto.so.1.1"),
    ],
)
def test_a_missing_library_is_named(tmp_path: Path, library: str, mend: str) -> None:
    told = f"mongod: error while loading shared libraries: {library}: cannot open shared object"
    path = program(tmp_path, f"echo '{told}' >&2; exit 127")
    with pytest.raises(NeedMissing, match=f"does not run without {library}: ") as caught:
        find_mongod(str(path))
    assert mend in str(caught.value)
    assert "--mongodb PATH" in str(caught.value)


def test_what_is_no_mongod_is_quoted(tmp_path: Path) -> None:
    path = program(tmp_path, "echo starting; echo Illegal instruction >&2; exit 132")
    with pytest.raises(NeedMissing, match=f"{path} does not run: Illegal instruction"):
        find_mongod(str(path))


def test_one_that_dies_as_it_starts_is_told_by_its_own_error(tmp_path: Path) -> None:
    told = words_of(tmp_path, f"echo '{FATAL}'; echo '{INFORMATION}'; exit 100")
    assert "did not start: NonExistentPath: Data directory not found (it ended with" in told
    assert "with exit code 100; log:" in told


def test_one_that_is_killed_is_not_told_by_what_it_said_before(tmp_path: Path) -> None:
    told = words_of(tmp_path, f"echo '{INFORMATION}'; kill -9 $$")
    assert "did not start: it gave no reason (it died of SIGKILL; log:" in told
