"""Finding a target Python, and refusing those that mod_wsgi can't embed."""

from __future__ import annotations

import itertools
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from wsgiproof.errors import ExitCode, PrerequisiteMissing, UsageError
from wsgiproof.process.account import Account
from wsgiproof.provision.python import choose, choose_all, describe, why_unusable
from wsgiproof.provision.toolchain import Python

ROOT = os.geteuid() == 0
ANYBODY = Account(name="me", group="me", uid=os.geteuid(), gid=os.getegid(), dropped=False)
NOBODY = Account(name="stranger", group="strangers", uid=65534, gid=65534, dropped=True)


def good(stdlib: Path) -> Python:
    """What an interpreter without any fault says of itself."""
    return Python(
        version="3.12.1",
        path="/opt/python/bin/python3.12",
        prefix="/opt/python",
        shared=True,
        headers=True,
        stdlib=str(stdlib),
        free_threaded=False,
    )


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def answering(path: Path, python: Python) -> Path:
    """A program that answers the question as ``python`` would."""
    text = msgspec.json.encode(python).decode()
    return program(path, f"echo {shlex.quote(text)}")


def found(python: Python, origin: str) -> Python:
    return msgspec.structs.replace(python, origin=origin)


@pytest.fixture
def at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which interpreters are looked for, beside the system's own."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path))
    monkeypatch.setenv("WSGIPROOF_CACHE", str(tmp_path / "cache"))
    return directory


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that everybody may enter, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="wsgiproof-test-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_a_real_interpreter_describes_itself() -> None:
    output = describe(Path(sys.executable))
    assert output.version == platform.python_version()
    assert output.prefix == sys.base_prefix
    assert output.stdlib == str(Path(os.__file__).parent)
    assert Path(output.path).exists()
    assert not output.path.startswith(sys.prefix + "/") or sys.prefix == sys.base_prefix


def test_the_answer_is_taken_as_it_is(tmp_path: Path) -> None:
    python = good(tmp_path)
    assert describe(answering(tmp_path / "python", python)) == python
    assert choose(str(tmp_path / "python"), ANYBODY) == found(python, "given")


@pytest.mark.parametrize(
    "script",
    [
        "echo hello",
        "exit 3",
        "true",
        "echo '[1, 2]'",
        'echo \'{"version": "3.12.1"}\'',
        "kill -9 $$",
    ],
)
def test_what_is_no_python_is_refused_in_one_line(tmp_path: Path, script: str) -> None:
    path = program(tmp_path / "python3.12", script)
    with pytest.raises(UsageError) as caught:
        choose(str(path), ANYBODY)
    message = str(caught.value)
    assert message.startswith(f"{path} is not a working Python interpreter")
    assert "\n" not in message
    assert "sysconfig" not in message, "the question itself tells a person nothing"
    assert len(message) < 300


@pytest.mark.parametrize("kind", ["a directory", "a text"])
def test_what_can_not_be_run_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "python3.12"
    if kind == "a directory":
        path.mkdir()
    else:
        path.write_text("just text")
    with pytest.raises(UsageError, match=r"not a working Python interpreter|can't be run"):
        choose(str(path), ANYBODY)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        choose(str(tmp_path / "python3.12"), ANYBODY)
    assert str(caught.value) == f"there is no Python at {tmp_path / 'python3.12'}"
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_version_that_is_not_there_comes_with_those_that_are(at_hand: Path) -> None:
    answering(at_hand / "python3", msgspec.structs.replace(good(at_hand), version="3.98.7"))
    program(at_hand / "python3.97", "exit 1")
    with pytest.raises(UsageError) as caught:
        choose("3.99", ANYBODY)
    message = str(caught.value)
    assert message.startswith("there is no Python '3.99' on this machine; available: 3.98.7")
    assert message.endswith("'wsgiproof build python 3.99.N' builds one from source")
    assert "\n" not in message
    with pytest.raises(UsageError, match=r"'wsgiproof build python 3.99.1t' builds"):
        choose("3.99.1t", ANYBODY)


@pytest.mark.parametrize("wanted", ["spam", "3.x", "", "three.twelve"])
def test_what_is_neither_version_nor_path(wanted: str) -> None:
    with pytest.raises(UsageError, match="is not a Python: give a version"):
        choose(wanted, ANYBODY)


def test_a_version_finds_an_interpreter_of_it(at_hand: Path) -> None:
    python = msgspec.structs.replace(good(at_hand), version="3.98.7")
    answering(at_hand / "python3.98", python)
    assert choose("3.98", ANYBODY) == choose("3.98.7", ANYBODY) == found(python, "PATH")
    for other in ("3.98.6", "3.9", "3.98t"):
        with pytest.raises(UsageError, match=f"no Python '{other}'.*3.98.7"):
            choose(other, ANYBODY)


def test_a_free_threaded_build_is_named_by_its_t(at_hand: Path) -> None:
    base = msgspec.structs.replace(good(at_hand), version="3.98.7")
    free = msgspec.structs.replace(base, path="/opt/python/bin/python3.98t", free_threaded=True)
    answering(at_hand / "python3.98", base)
    answering(at_hand / "python3.98t", free)
    assert choose("3.98t", ANYBODY) == found(free, "PATH")
    assert choose("3.98", ANYBODY) == found(base, "PATH")


def test_a_command_on_the_path_is_named_by_its_name(at_hand: Path) -> None:
    answering(at_hand / "my-python", good(at_hand))
    assert choose("my-python", ANYBODY) == found(good(at_hand), "PATH")


@pytest.mark.parametrize(
    ("field", "words", "fix"),
    [
        ("shared", "has no shared library", "--enable-shared"),
        ("headers", "has no headers", "apt-get install python3.12-dev"),
    ],
)
def test_one_that_mod_wsgi_can_not_embed(field: str, words: str, fix: str, tmp_path: Path) -> None:
    python = msgspec.convert(msgspec.structs.asdict(good(tmp_path)) | {field: False}, Python)
    path = answering(tmp_path / "python3.12", python)
    with pytest.raises(PrerequisiteMissing) as caught:
        choose(str(path), ANYBODY)
    message = str(caught.value)
    assert "Python 3.12.1 (/opt/python/bin/python3.12)" in message
    assert words in message
    assert fix in message
    assert message.endswith("or build one: 'wsgiproof build python 3.12.1'")
    assert "\n" not in message
    assert caught.value.exit_code is ExitCode.UNDECIDED


def test_the_one_that_can_be_embedded_is_taken_where_several_have_the_version(
    at_hand: Path,
) -> None:
    python = msgspec.structs.replace(good(at_hand), version="3.98.5", path="/usable")
    newer = msgspec.structs.replace(python, version="3.98.7", path="/static", shared=False)
    answering(at_hand / "python3", python)
    answering(at_hand / "python3.98", newer)
    assert choose("3.98", ANYBODY) == found(python, "PATH")


def test_nothing_is_wrong_with_one_that_is_readable(open_directory: Path) -> None:
    assert why_unusable(good(open_directory), ANYBODY) == ""


@pytest.mark.skipif(not ROOT, reason="only root can ask the kernel as another user")
def test_one_that_apaches_user_can_not_read(open_directory: Path) -> None:
    closed = open_directory / "closed"
    stdlib = closed / "lib" / "python3.12"
    stdlib.mkdir(parents=True)
    python = good(stdlib)
    assert why_unusable(python, NOBODY) == ""
    closed.chmod(0o700)
    assert why_unusable(python, ANYBODY) == ""
    path = answering(open_directory / "python3.12", python)
    with pytest.raises(PrerequisiteMissing) as caught:
        choose(str(path), NOBODY)
    message = str(caught.value)
    assert f"can't be read by Apache's user 'stranger', because of {closed}:" in message
    assert f"'chmod o+x {closed}'" in message


@pytest.mark.skipif(not ROOT, reason="only root can ask the kernel as another user")
def test_a_library_that_may_be_entered_but_not_read(open_directory: Path) -> None:
    stdlib = open_directory / "lib"
    stdlib.mkdir(mode=0o711)
    stdlib.chmod(0o711)
    assert str(stdlib) in why_unusable(good(stdlib), NOBODY)


# Several of them, each with a name of its own


def like(at_hand: Path, name: str, version: str, *, free_threaded: bool = False) -> Python:
    """An interpreter at hand that is called ``name``."""
    path = at_hand / name
    python = msgspec.structs.replace(
        good(at_hand), version=version, path=str(path), free_threaded=free_threaded
    )
    answering(path, python)
    return python


def names(*wanted: str) -> dict[str, str]:
    return {python.asked: python.name for python in choose_all(wanted, ANYBODY)}


def test_a_version_that_was_asked_for_is_the_name(at_hand: Path) -> None:
    like(at_hand, "python3.98", "3.98.7")
    like(at_hand, "python3.97", "3.97.1")
    like(at_hand, "python3.98t", "3.98.7", free_threaded=True)
    wanted = ("3.98", "3.97.1", "3.98t")
    assert names(*wanted) == {word: word for word in wanted}
    output = choose_all(wanted, ANYBODY)
    assert [python.version for python in output] == ["3.98.7", "3.97.1", "3.98.7"]


def test_a_path_or_a_command_is_named_by_the_first_two_numbers(at_hand: Path) -> None:
    python = like(at_hand, "my-python", "3.98.7")
    free = like(at_hand, "python3.97t", "3.97.2", free_threaded=True)
    assert names("my-python", free.path) == {"my-python": "3.98", free.path: "3.97t"}
    assert names(python.path) == {python.path: "3.98"}


def test_an_empty_word_is_the_one_at_hand() -> None:
    """Of the machine that runs this test, as it is."""
    (python,) = choose_all([""], ANYBODY)
    assert python.asked == ""
    assert python.name == python.short
    assert python.path == choose(None, ANYBODY).path


def test_two_that_would_be_called_the_same_get_their_full_versions(at_hand: Path) -> None:
    one = like(at_hand, "one", "3.98.5")
    two = like(at_hand, "two", "3.98.7")
    other = like(at_hand, "other", "3.97.1")
    assert names(one.path, two.path, other.path) == {
        one.path: "3.98.5",
        two.path: "3.98.7",
        other.path: "3.97",
    }
    like(at_hand, "python3.98", "3.98.9")
    assert names("3.98", one.path) == {"3.98": "3.98.9", one.path: "3.98.5"}


def test_one_that_was_asked_for_twice_has_one_name(at_hand: Path) -> None:
    python = like(at_hand, "python3.98", "3.98.7")
    assert names("3.98", python.path) == {"3.98": "3.98", python.path: "3.98"}
    assert names("3.98.7", "3.98") == {"3.98.7": "3.98.7", "3.98": "3.98.7"}


@pytest.mark.parametrize("free_threaded", [False, True])
def test_two_that_nothing_tells_apart(free_threaded: bool, at_hand: Path) -> None:
    one = like(at_hand, "one", "3.98.7", free_threaded=free_threaded)
    two = like(at_hand, "two", "3.98.7", free_threaded=free_threaded)
    with pytest.raises(UsageError) as caught:
        choose_all([one.path, two.path], ANYBODY)
    assert str(caught.value) == (
        f"{one.path} and {two.path} are both Python 3.98.7: name only one of them"
    )


def test_two_builds_of_one_version_are_distinguished(at_hand: Path) -> None:
    one = like(at_hand, "one", "3.98.7")
    two = like(at_hand, "two", "3.98.7", free_threaded=True)
    assert names(one.path, two.path) == {one.path: "3.98", two.path: "3.98t"}


def test_no_two_different_ones_share_a_name(at_hand: Path) -> None:
    versions = ("3.98.5", "3.97.1")
    paths = [like(at_hand, f"python-{one}", one).path for one in versions]
    like(at_hand, "python3.98", "3.98.9")
    for wanted in itertools.permutations([*paths, "3.98", "3.98.9"]):
        called: dict[str, set[str]] = {}
        for python in choose_all(wanted, ANYBODY):
            called.setdefault(python.name, set()).add(python.path)
        assert all(len(found) == 1 for found in called.values()), called
        assert len(called) == 3
