"""The one place of wsgiproof that starts a process.

So every child has the environment that it was given and none of ours, carries the marker of the
run, by which it is found again when all of us have been killed, and is known: what comes to us as
an orphan, when a guard was killed, can be told from it.
"""

from __future__ import annotations

import errno
import os
import resource
import secrets
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsgiproof.errors import CannotRun
from wsgiproof.guard import children
from wsgiproof.signals import held

MARKER = "WSGIPROOF_RUN"
"""In the environment of every process of a run: its name, with ``.N`` for a service's."""

_run_name = secrets.token_hex(8)
_lock = threading.Lock()
_started: dict[int, subprocess.Popen[bytes]] = {}


def run_name() -> str:
    """The random name of this run."""
    return _run_name


def join_run(name: str) -> None:
    """Be a part of another process's run: a worker is."""
    global _run_name
    _run_name = name


def spawn(
    argv: Sequence[str | Path], *, env: Mapping[str, str], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process with exactly this environment, and the marker; ``options`` are Popen's.

    Raises OSError if it can't be executed, and :class:`CannotRun` if a limit of the machine is
    reached, which the message names.
    """
    with held(), _lock:
        try:
            # Options that say nothing of standard input leave the terminal to it, which a process
            # of another user can type into.
            process = subprocess.Popen(
                [os.fspath(word) for word in argv],
                env={MARKER: _run_name, **env},
                **{"stdin": subprocess.DEVNULL, **options},
            )
        except OSError as error:
            reached = limit_reached(error)
            if reached:
                raise CannotRun(f"cannot start {argv[0]}: {reached}") from error
            raise
        for pid in [pid for pid, one in _started.items() if one.returncode is not None]:
            del _started[pid]
        _started[process.pid] = process
        return process


def unknown_children() -> list[int]:
    """Our children that :func:`spawn` did not start: orphans that came to us."""
    with _lock:  # nothing is between being started and being known
        return [pid for pid in children(os.getpid()) if pid not in _started]


def limit_reached(error: BaseException) -> str:
    """Which limit of the machine this error means, and what raises it; empty if it is another."""
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return _no_process("thread")
    if isinstance(error, OSError):
        if error.errno == errno.EAGAIN:
            return _no_process("process")
        if error.errno == errno.EMFILE:
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            return f"the limit of {soft} open files is reached: raise it with 'ulimit -n'"
        if error.errno == errno.ENFILE:
            return "the machine's limit of open files is reached (sysctl fs.file-max)"
        if error.errno == errno.ENOMEM:
            return "there is not enough memory to start another process"
    return ""


def _no_process(what: str) -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    limit = "no limit" if soft == resource.RLIM_INFINITY else f"a limit of {soft}"
    return (
        f"no more {what} can be started: this user has {limit} of processes and threads "
        "('ulimit -u'), the container or service may have another (pids.max)"
    )
