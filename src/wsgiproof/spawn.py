"""The one place of wsgiproof that starts a process.

So every child has the environment that it was given and none of ours, carries the marker of the
run, by which it is found again when all of us have been killed, and is known: what comes to us as
an orphan, when a guard was killed, can be told from it.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsgiproof import limits
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
            reached = limits.explain(error)
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
