"""Everything wsgiproof raises on purpose, and the exit code of each family.

    WsgiproofError                    the base; one clear line, saying what to do
    ├── UsageError            exit 2  what was asked for makes no sense or does not exist
    │   └── Unsupported               a version exists, but not for this Python
    └── CannotRun             exit 3  what was asked for makes sense, but we could not do it
        ├── NeedMissing               the machine lacks something; `wsgiproof doctor` tells the mend
        ├── BuildFailed               a toolchain could not be built
        ├── ServiceFailed             mongod or Apache did not start, or went away
        │   └── PortTaken             somebody bound the port between our choice and the bind
        ├── Locked                    another process has a lock for longer than we wait
        └── DeadlinePassed            a child process did not finish in time

A finding about the subject is never an exception: it is a
:class:`wsgiproof.records.Finding`, and its exit code is 1. Any other exception is a defect of
ours: exit 70, with a file that has the traceback.
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
    """Of wsgiproof itself: EX_SOFTWARE of sysexits.h."""
    INTERRUPTED = 130
    CLOSED = 141
    """Whoever read our output has gone: what a shell says of a command that SIGPIPE ended."""


def describe(error: OSError) -> str:
    """What the system said, and about which file, in one line; of a limit, how to raise it."""
    if limit := limits.explain(error):
        return limit
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def one_line(text: str) -> str:
    """``text`` for a person: what would break the line, or steer a terminal, is a ``?`` in it."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown ``name``: the nearest of ``valid``; empty if none is
    near."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def interrupted(error: BaseException | None) -> bool:
    """Whether this came up while Ctrl-C was on its way, and took its place."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


class WsgiproofError(Exception):
    """The base of every error that is ours; ``str()`` of it is one line for a person."""

    exit_code: ExitCode = ExitCode.UNDECIDED

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UsageError(WsgiproofError):
    """An option or a value that can't be right, wherever it runs."""

    exit_code = ExitCode.USAGE


class Unsupported(UsageError):
    """A version that exists, and does not go together with an interpreter."""


class CannotRun(WsgiproofError):
    """The request is sound, but this machine or this moment could not carry it out."""


class NeedMissing(CannotRun):
    """Something that a run needs is not on this machine."""


class BuildFailed(CannotRun):
    """A build did not produce what it should; the message ends with the log's path."""


class ServiceFailed(CannotRun):
    """A server that we need (mongod, Apache) did not start or did not answer."""


class PortTaken(ServiceFailed):
    """Another process bound the port between our choice of it and the server's bind."""


class Locked(CannotRun):
    """Another process holds a lock that we need; it is named."""


class DeadlinePassed(CannotRun):
    """A child process was still running when its time was over, and has been stopped."""
