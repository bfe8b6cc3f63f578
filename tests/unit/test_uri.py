"""Where a URI is kept, so that its password is in no list of processes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from wsgiproof.cli.options import configure
from wsgiproof.config.file import anchored, lifted
from wsgiproof.errors import UsageError
from wsgiproof.subjects.pymongo.uri import has_password, is_reference, is_uri, resolve

SECRET = "hunter2"
URI = f"mongodb://ann:{SECRET}@h:1/"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "uri"
    path.touch(mode=0o600)
    path.write_text(f"{URI}\nwhatever else\n")
    return path


def refused(target: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(target)
    assert SECRET not in str(caught.value)
    assert f"--mongodb {target}" in str(caught.value)
    return str(caught.value)


def test_it_is_read_from_a_file_for_us_alone(kept: Path) -> None:
    assert resolve(f"file:{kept}") == URI
    link = kept.with_name("link")
    link.symlink_to(kept)
    assert resolve(f"file:{link}") == URI


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o604])
def test_a_file_that_others_may_read_is_refused(kept: Path, mode: int) -> None:
    kept.chmod(mode)
    assert f"'chmod 600 {kept}'" in refused(f"file:{kept}")


def test_a_file_of_another_user_is_refused(kept: Path) -> None:
    if os.geteuid() == 0:
        os.chown(kept, 65534, 65534)
        assert "belongs to another user" in refused(f"file:{kept}")
    else:  # root's are taken, but not what all may read
        assert "other users may read" in refused("file:/etc/passwd")


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert "not a regular file" in refused(f"file:{fifo}")
    assert "not a regular file" in refused(f"file:{tmp_path}")
    assert "No such file" in refused(f"file:{tmp_path}/none")


def test_it_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WP_TEST_URI", URI)
    assert resolve("env:WP_TEST_URI") == URI
    assert "no environment variable 'WP_TEST_NONE'" in refused("env:WP_TEST_NONE")


def test_it_is_a_line_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{URI}\nmongodb://other/\n"))
    assert resolve("-") == URI
    assert resolve("-") == "mongodb://other/"
    assert "there is no mongodb:// URI in it" in refused("-")


@pytest.mark.parametrize("text", ["", SECRET, f"file:{SECRET}", "-", f"/{SECRET}/mongod"])
def test_what_is_no_uri_is_not_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WP_TEST_URI", text)
    assert "there is no mongodb:// URI in it" in refused("env:WP_TEST_URI")


def test_any_other_value_is_itself() -> None:
    for value in ("", "/opt/mongod", "six", URI):
        assert resolve(value) == value
        assert not is_reference(value)
    for value in ("-", "env:NAME", "file:/x"):
        assert is_reference(value)
        assert is_uri(value)


def test_a_file_is_relative_to_where_it_is_named() -> None:
    values = {"mongodb": ["file:uri", "-", "env:A"], "mongodb_servers": {"a": "file:b/uri"}}
    assert anchored(lifted(values), Path("/srv/x")) == {
        "axes": {"mongodb": ["file:/srv/x/uri", "-", "env:A"]},
        "names": {"mongodb_servers": {"a": "file:/srv/x/b/uri"}},
    }


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (URI, True),
        ("mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:x", True),
        ("mongodb://ann@h:1/", False),
        ("mongodb://h:1,i:2/", False),
        ("/opt/mongod", False),
        ("file:/x", False),
    ],
)
def test_a_password_among_the_arguments_is_warned_of(
    uri: str, expected: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert has_password(uri) is expected
    configure({"mongodb": (uri,)})
    shown = capsys.readouterr().err
    assert bool(shown) is expected
    assert SECRET not in shown
    assert len(shown.splitlines()) == expected
