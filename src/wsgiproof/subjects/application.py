"""Lays out the WSGI application that Apache loads, for one cell."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

import wsgiproof
from wsgiproof.errors import DeadlineExceeded, UsageError
from wsgiproof.files import Directory
from wsgiproof.process.account import Account
from wsgiproof.process.commands import run_unguarded
from wsgiproof.process.environ import child_environment
from wsgiproof.process.guard.settings import CORE_DESCRIPTOR
from wsgiproof.provision.toolchain import Application
from wsgiproof.records.cell import Cell, InterpreterKind, Loading
from wsgiproof.subjects.controls import Control
from wsgiproof.subjects.registry import subject_of

_SECRET_BYTES = 16
_PACKAGE = "wsgiproof_agent"
_SUBJECT = "subject"
"""Its subpackage with the code of the subject."""
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
"""Compiles a file as ``agent/user_app.py`` does; for Python 2.7 and newer."""
_USER_APP = "own"
_START = "sitecustomize.py"
"""What Python imports as it makes an interpreter, if it finds that."""
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
    attach_to: Path | None = None,
) -> Application:
    """Copy the code that runs inside into ``run_directory``, and write its settings.

    It is copied so that Apache's user can read it wherever wsgiproof is installed. That user may
    read the copy but does not own it. It may write only in the directories of evidence and of
    temporary files, which are made last. ``connection`` is how to reach the backend.
    ``core_descriptor`` is None for an Apache that wsgiproof does not start. ``attach_to`` is the
    program of a server that loads the user's application by itself.
    """
    user, group = account.ids
    directory = run_directory / "app"
    evidence = run_directory / "evidence"
    agent = Path(wsgiproof.__file__).parent / "agent"
    subject = subject_of(cell)
    told = subject.for_app(connection)
    control = subject.every_control().get(cell.control)
    secret = secrets.token_hex(_SECRET_BYTES)
    settings = {
        "evidence": str(evidence),
        "core_descriptor": core_descriptor,
        "secret": secret,
        "app": str(directory / _USER_APP / f"{cell.app_name}.py") if cell.app else None,
        "server": str(attach_to.resolve()) if attach_to else None,
        "environ": {f"wsgiproof.{name}": value for name, value in told.items()},
        "variables": {f"WSGIPROOF_{name.upper()}": value for name, value in told.items()},
        "fault": control.fault_name() if control else None,
        "fault_options": control.options if control else {},
        "subject": subject.settings(cell, connection),
    }
    with Directory(run_directory) as run, run.make("app", _ENTERED, group=group) as app:
        with app.make(_PACKAGE, _ENTERED, group=group) as package:
            _fill(package, _modules(agent), group)
            _copy(_modules(subject.agent), package, _SUBJECT, group)
        if attach_to is not None:
            app.write(_START, _modules(agent)[_START].read_bytes(), _READ, group=group)
        if cell.app:
            # In its own directory, which is on no sys.path: it may have the name of a module.
            _copy({f"{cell.app_name}.py": Path(cell.app)}, app, _USER_APP, group)
        # A URI may hold a password.
        app.write("settings.json", msgspec.json.encode(settings), _READ, group=group)
        run.make("evidence", 0o700, owner=user, group=group).close()
        run.make("tmp", 0o700, owner=user, group=group).close()
    return Application(
        directory=directory,
        script=directory / _PACKAGE / "script.wsgi",
        groups=_groups(cell, control),
        attached=attach_to is not None,
        lazy=cell.loading is Loading.LAZY or (control is not None and control.loaded_late),
        evidence=evidence,
        tmp=run_directory / "tmp",
        home=home,
        identity=subject.identity,
        user=account.uid if account.dropped else None,
        secret=secret,
    )


def compile_agent(application: Application, python: str, account: Account) -> None:
    """Compile the modules of the agent for the Python that imports them, in ``__pycache__``.

    Apache's user may not write there, so each interpreter of each process would compile all of them
    again. Where this fails (Python 2 does not know ``-I``), that is what happens.
    """
    package = application.directory / _PACKAGE
    # Isolated and without site: nothing of the subject is imported, nor of the working directory.
    command = [python, "-I", "-S", "-m", "compileall", "-q", str(package)]
    with suppress(DeadlineExceeded):
        run_unguarded(command, deadline=_COMPILED_WITHIN, env=child_environment())
    for cache in package.rglob("__pycache__"):
        for path, mode in ((cache, _ENTERED), *((one, _READ) for one in cache.iterdir())):
            os.chown(path, -1, account.ids[1])
            path.chmod(mode)


def _modules(directory: Path) -> dict[str, Path]:
    """Return the files of a directory with code that runs inside, by name."""
    found = directory.iterdir()
    return {path.name: path for path in found if path.suffix in (".py", ".wsgi")}


def _copy(files: Mapping[str, Path], directory: Directory, name: str, group: int) -> None:
    """Copy files into a new directory ``name``, which members of ``group`` may read."""
    with directory.make(name, _ENTERED, group=group) as target:
        _fill(target, files, group)


def _fill(directory: Directory, files: Mapping[str, Path], group: int) -> None:
    for name, path in sorted(files.items()):
        directory.write(name, path.read_bytes(), _READ, group=group)


def _groups(cell: Cell, control: Control | None) -> tuple[str, ...]:
    """Return the application group of each URL."""
    if cell.interpreter is InterpreterKind.MAIN:
        return ("%{GLOBAL}",)
    shared = control is not None and control.one_interpreter
    named = shared or (control is not None and "only" in control.options)
    if (cell.loading is Loading.LAZY or cell.virtual_hosts) and not named:
        return ("%{RESOURCE}",) * cell.sub_interpreters
    return tuple(
        f"interpreter{1 if shared else number}" for number in range(1, cell.sub_interpreters + 1)
    )
