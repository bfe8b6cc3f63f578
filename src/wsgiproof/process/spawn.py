"""The only place in wsgiproof that starts processes.

So every child has exactly the given environment. It also has the marker of the run, by which it is
found again if all processes of the run have been killed. And it is registered: orphans of a killed
guard, which become children of this process, can be distinguished from it.
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
from wsgiproof.process.guard.proc import children
from wsgiproof.process.signals import interrupts_deferred

MARKER = "WSGIPROOF_RUN"
"""The variable of every process of a run with the name of the run, and ``.N`` for a service."""

_run_name = secrets.token_hex(8)
_lock = threading.Lock()
_started: dict[int, subprocess.Popen[bytes]] = {}


def run_name() -> str:
    """Return the random name of this run."""
    return _run_name


def join_run(name: str) -> None:
    """Make this process, a worker, part of the run ``name``."""
    global _run_name
    _run_name = name


def spawn(
    argv: Sequence[str | Path], *, env: Mapping[str, str], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process with exactly this environment and the marker; ``options`` are those of Popen.

    Raises OSError if it can't be executed, and :class:`CannotRun` with the name of the limit if a
    limit of the machine is reached.
    """
    with interrupts_deferred(), _lock:
        try:
            # Without a standard input of its own, a process of another user could type into the
            # terminal.
            process = subprocess.Popen(
                [os.fspath(word) for word in argv],
                env={MARKER: _run_name, **env},
                **{"stdin": subprocess.DEVNULL, **options},
            )
        except OSError as error:
            if limit := limits.explain(error):
                raise CannotRun(f"cannot start {argv[0]}: {limit}") from error
            raise
        for pid in [pid for pid, child in _started.items() if child.returncode is not None]:
            del _started[pid]
        _started[process.pid] = process
        return process


def unknown_children() -> list[int]:
    """Return the children that :func:`spawn` did not start: orphans of killed guards."""
    with _lock:  # no process is started but not yet registered
        return [pid for pid in children(os.getpid()) if pid not in _started]
