"""Laying out the WSGI application that Apache loads, for one cell."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path

import msgspec

import wsgiproof
from wsgiproof.account import Account
from wsgiproof.cell import Cell, InterpreterKind, Topology
from wsgiproof.errors import UsageError
from wsgiproof.subjects.controls import CONTROLS
from wsgiproof.toolchain import Application

DOCUMENTS = 20
"""The recipe's number of documents."""
_BATCH_SIZE = 10
_SECRET_BYTES = 16
_PACKAGE = "wsgiproof_inside"


def check_app(path: Path) -> None:
    """Raise :class:`UsageError` for what can't be a WSGI script.

    It is not compiled: the Python that runs it may be another one than ours.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"--app {path}: its name is not UTF-8, as records have to be") from error
    try:
        text = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise UsageError(f"--app {path}: {error.strerror}") from error
    if text is None:
        raise UsageError(f"--app {path}: there is no such file")
    if not re.search(rb"\bapplication\b", text):
        raise UsageError(
            f"--app {path}: it has to define 'application(environ, start_response)', and does "
            "not even hold that word"
        )


def lay_out(
    cell: Cell, run_directory: Path, uri: str, database: str, account: Account
) -> Application:
    """Copy the code that runs inside into ``run_directory`` and say to it what it is to do.

    The code is copied so that Apache's user can read it wherever wsgiproof itself is installed.
    """
    directory = run_directory / "app"
    evidence = run_directory / "evidence"
    package = directory / _PACKAGE
    shutil.copytree(
        Path(wsgiproof.__file__).parent / "inside",
        package,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    evidence.mkdir()
    account.own(evidence)
    control = CONTROLS.get(cell.control)
    secret = secrets.token_hex(_SECRET_BYTES)
    settings = {
        "secret": secret,
        "uri": uri,
        "database": database,
        "evidence": str(evidence),
        "documents": 0 if cell.app or cell.topology is Topology.NONE else DOCUMENTS,
        "batch_size": _BATCH_SIZE,
        # A client that is left open is a crash at the stop now and then (docs/findings.md 1), which
        # is about PyMongo, and would spoil the proof of a check.
        "close": bool(cell.control),
        "app": _copy_app(cell, directory),
        "fault": control.planted() if control else None,
        "fault_options": control.options if control else {},
    }
    (directory / "settings.json").write_bytes(msgspec.json.encode(settings))
    _readable(directory)
    return Application(
        directory=directory,
        script=package / "script.wsgi",
        groups=_groups(cell),
        evidence=evidence,
        secret=secret,
    )


def _copy_app(cell: Cell, directory: Path) -> str | None:
    """Copy an application of one's own to where Apache's user can read it, and say where that is.

    It gets a directory of its own, which is on no ``sys.path``: it may be named like a module.
    """
    if not cell.app:
        return None
    copy = directory / "own" / f"{cell.app_name}.py"
    copy.parent.mkdir()
    shutil.copyfile(cell.app, copy)
    return str(copy)


def _groups(cell: Cell) -> tuple[str, ...]:
    """The application group of each URL."""
    if cell.interpreter is InterpreterKind.MAIN:
        return ("%{GLOBAL}",)
    control = CONTROLS.get(cell.control)
    alone = control is not None and control.one_interpreter
    return tuple(
        f"interpreter{1 if alone else number}" for number in range(1, cell.sub_interpreters + 1)
    )


def _readable(directory: Path) -> None:
    """Readable by Apache's user, whatever the umask is."""
    directory.chmod(0o755)
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
