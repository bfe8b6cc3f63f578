"""Lays out the WSGI application that Apache loads, for one cell."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

import wsgiproof
from wsgiproof.errors import UsageError
from wsgiproof.files import Directory
from wsgiproof.process.account import Account
from wsgiproof.process.environ import child_environment
from wsgiproof.process.guard import CORE_DESCRIPTOR
from wsgiproof.process.supervise import run_unguarded
from wsgiproof.provision.toolchain import Application
from wsgiproof.records.cell import Cell, InterpreterKind
from wsgiproof.subjects.controls import CONTROLS

DOCUMENTS = 20
"""The recipe's number of documents."""
_BATCH_SIZE = 10
_SECRET_BYTES = 16
_PACKAGE = "wsgiproof_agent"
_COLLECTIONS = "wsgiproof_store_"
"""The start of the name of each collection of the built-in workload."""
_COMPILED_WITHIN = 60.0
"""Seconds, on a busy machine."""
_DOES_NOT_COMPILE = 3
"""The exit code of the program below."""
_COMPILE = f"""
import sys
try:
    compile(open(sys.argv[1], "rb").read(), sys.argv[1], "exec", 0, True)
except (SyntaxError, TypeError, ValueError):
    error = sys.exc_info()[1]
    print("%s: %s: %s" % (getattr(error, "lineno", None) or 1, type(error).__name__,
                          getattr(error, "msg", error)))
    sys.exit({_DOES_NOT_COMPILE})
"""
"""Compiles a file as ``inside/user_app.py`` does; for Python 2.7 and newer."""
_USER_APP = "own"
_ENTERED, _READ = 0o750, 0o640
"""The modes of directories and files that Apache's user may read, by its group; nobody else may."""


def check_app(path: Path) -> None:
    """Raise :class:`UsageError` for a file that can't be a WSGI script.

    Its syntax is not checked here: :func:`check_syntax` asks the Python that will run it.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"--app {path}: its name has to be UTF-8, as records are") from error
    try:
        text = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise UsageError(f"--app {path}: {error.strerror}") from error
    if text is None:
        why = (
            "it is a directory: name the WSGI script in it, such as wsgi.py"
            if path.is_dir()
            else "there is no such file"
            if not path.exists()
            else "it is not a regular file"
        )
        raise UsageError(f"--app {path}: {why}")
    if not re.search(rb"\bapplication\b", text):
        raise UsageError(
            f"--app {path}: it has to define 'application(environ, start_response)', but does not "
            "contain the word 'application'"
        )


def check_syntax(path: Path, python: str) -> None:
    """Raise :class:`UsageError` if this Python can't compile the script; nothing in it is run."""
    command = [python, "-E", "-s", "-S", "-W", "ignore", "-c", _COMPILE, str(path)]
    checked = run_unguarded(command, deadline=_COMPILED_WITHIN, env=child_environment())
    if checked.returncode == _DOES_NOT_COMPILE:
        line, _, message = checked.output.strip().partition(":")
        raise UsageError(f"--app {path}:{line}: {message.strip()} (says {python})")


def lay_out(
    cell: Cell,
    run_directory: Path,
    connection: Mapping[str, str],
    account: Account,
    *,
    home: str = "",
    core_descriptor: int | None = CORE_DESCRIPTOR,
) -> Application:
    """Copy the code that runs inside into ``run_directory``, and write its settings.

    It is copied so that Apache's user can read it wherever wsgiproof is installed. That user may
    read the copy but does not own it. It may write only in the directories of evidence and of
    temporary files, which are made last. ``core_descriptor`` is None for an Apache that wsgiproof
    does not start.
    """
    user, group = account.ids
    directory = run_directory / "app"
    evidence = run_directory / "evidence"
    control = CONTROLS.get(cell.control)
    secret = secrets.token_hex(_SECRET_BYTES)
    settings = {
        "secret": secret,
        "uri": connection.get("uri", ""),
        "database": connection.get("database", ""),
        "evidence": str(evidence),
        "core_descriptor": core_descriptor,
        "documents": 0 if cell.app or not connection else DOCUMENTS,
        "batch_size": _BATCH_SIZE,
        "prefix": _COLLECTIONS,
        # A client that is left open sometimes crashes the process at the stop (docs/findings.md 1).
        # That is a finding about PyMongo, and would disturb the proof of a check.
        "close": bool(cell.control),
        "app": str(directory / _USER_APP / f"{cell.app_name}.py") if cell.app else None,
        "fault": control.fault_name() if control else None,
        "fault_options": control.options if control else {},
    }
    with Directory(run_directory) as run, run.make("app", _ENTERED, group=group) as app:
        _copy(_inside(), app, _PACKAGE, group)
        if cell.app:
            # In its own directory, which is on no sys.path: it may have the name of a module.
            _copy({f"{cell.app_name}.py": Path(cell.app)}, app, _USER_APP, group)
        # The URI may hold a password.
        app.write("settings.json", msgspec.json.encode(settings), _READ, group=group)
        run.make("evidence", 0o700, owner=user, group=group).close()
        run.make("tmp", 0o700, owner=user, group=group).close()
    return Application(
        directory=directory,
        script=directory / _PACKAGE / "script.wsgi",
        groups=_groups(cell),
        evidence=evidence,
        tmp=run_directory / "tmp",
        home=home,
        collections=_COLLECTIONS,
        user=account.uid if account.dropped else None,
        secret=secret,
    )


def _inside() -> dict[str, Path]:
    """Return the files of the code that runs inside, by name."""
    found = (Path(wsgiproof.__file__).parent / "agent").iterdir()
    return {path.name: path for path in found if path.suffix in (".py", ".wsgi")}


def _copy(files: Mapping[str, Path], directory: Directory, name: str, group: int) -> None:
    """Copy files into a new directory ``name``, which members of ``group`` may read."""
    with directory.make(name, _ENTERED, group=group) as target:
        for new, path in sorted(files.items()):
            target.write(new, path.read_bytes(), _READ, group=group)


def _groups(cell: Cell) -> tuple[str, ...]:
    """Return the application group of each URL."""
    if cell.interpreter is InterpreterKind.MAIN:
        return ("%{GLOBAL}",)
    control = CONTROLS.get(cell.control)
    shared = control is not None and control.one_interpreter
    return tuple(
        f"interpreter{1 if shared else number}" for number in range(1, cell.sub_interpreters + 1)
    )
