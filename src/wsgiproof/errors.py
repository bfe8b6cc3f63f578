"""The exceptions that wsgiproof raises on purpose, and the exit code of each family.

    WsgiproofError                    the base; one line that says what to do
    ├── UsageError            exit 2  the request makes no sense, or names what does not exist
    │   └── Unsupported               a version exists, but not for this Python
    └── CannotRun             exit 3  the request makes sense, but can't be carried out
        ├── PrerequisiteMissing       the machine lacks something; `wsgiproof doctor` shows the fix
        ├── BuildFailed               a toolchain could not be built
        ├── ServiceFailed             a backend or Apache did not start, or ended
        │   └── PortTaken             another process bound the port before the server did
        ├── Locked                    another process holds a lock for too long
        └── DeadlineExceeded            a child process did not finish in time

A finding about the subject is never an exception: it is a
:class:`wsgiproof.records.judgement.Finding`, and its exit code is 1. Any other exception is a
defect of wsgiproof: exit 70, with a file that contains the traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum

from wsgiproof import limits


class ExitCode(IntEnum):
    """The exit codes of every command, as documented in ``wsgiproof --help``."""

    PASS = 0
    FINDING = 1
    USAGE = 2
    UNDECIDED = 3
    DEFECT = 70
    """A defect of wsgiproof itself: EX_SOFTWARE of sysexits.h."""
    INTERRUPTED = 130
    CLOSED = 141
    """The reader of the output has gone: the exit code that a shell shows for SIGPIPE."""


def describe(error: OSError) -> str:
    """Return the system's message and the file in one line; for a limit, how to raise it."""
    if limit := limits.explain(error):
        return limit
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def one_line(text: str) -> str:
    """Return ``text`` as one line for a person: blanks for whitespace, ``?`` for other control
    characters."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown ``name``: the nearest of ``valid``; empty if none is
    near."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def interrupted(error: BaseException | None) -> bool:
    """Whether an exception replaced the KeyboardInterrupt of Ctrl-C."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


class WsgiproofError(Exception):
    """The base of all errors of wsgiproof; ``str()`` of it is one line for a person."""

    exit_code: ExitCode = ExitCode.UNDECIDED

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UsageError(WsgiproofError):
    """An option or a value that is wrong on any machine."""

    exit_code = ExitCode.USAGE


class Unsupported(UsageError):
    """A version that exists, but not for this interpreter."""


class CannotRun(WsgiproofError):
    """The request is correct, but can't be carried out on this machine or at this moment."""


class PrerequisiteMissing(CannotRun):
    """This machine lacks something that a run needs."""


class BuildFailed(CannotRun):
    """A build failed; the message ends with the path of its log."""


class ServiceFailed(CannotRun):
    """A server (a backend, Apache) did not start, did not answer, or ended."""


class PortTaken(ServiceFailed):
    """Another process bound the port after it was chosen and before the server bound it."""


class Locked(CannotRun):
    """Another process, which the message names, holds a lock."""


class DeadlineExceeded(CannotRun):
    """A child process did not finish within its deadline, and has been stopped."""
