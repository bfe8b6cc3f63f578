"""Runs commands that end, each with a deadline, so that none outlives wsgiproof.

If the machine has no process, descriptor or memory left, :class:`CannotRun` names the limit.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

from wsgiproof.errors import CannotRun, DeadlineExceeded
from wsgiproof.process.guarded import Guarded, ProcessEvent, await_end
from wsgiproof.process.leftovers import current_run, temporary_directory
from wsgiproof.process.signals import check_interrupted, interrupts_deferred
from wsgiproof.process.spawn import spawn

MOST_OUTPUT = 64 << 20
"""Bytes that are read of what a finite command has printed."""

STRAGGLER_GRACE = 0.5
"""Seconds that the children of a finite command may outlive the command."""


@dataclass(frozen=True)
class Completed:
    """The result of a finite command.

    ``returncode`` is the exit code, or minus the signal; ``output`` is stdout and stderr, mixed.
    """

    returncode: int
    output: str
    seconds: float


def run(
    argv: Sequence[str],
    *,
    deadline: float,
    env: Mapping[str, str],
    cwd: Path | None = None,
    log: Path | None = None,
    remove: Sequence[Path] = (),
    heartbeat: Callable[[], None] = lambda: None,
    user: tuple[int, int] | None = None,
    limits: Mapping[str, int] | None = None,
) -> Completed:
    """Run a finite command for at most ``deadline`` seconds, and return its result.

    ``env`` is the whole environment, except for the marker of the run and TMPDIR, which is a
    directory of the command that is removed after it. The output is also appended to ``log``; the
    result has the end of it, at most :data:`MOST_OUTPUT` bytes. ``user`` and ``limits`` are as for
    :class:`Service` and :class:`Confinement`.
    Processes that the command leaves running are killed soon after its end. ``remove`` is as for
    :class:`Service`. ``heartbeat`` is called about twenty times a second while the command runs.

    Raises CannotRun if the command can't be executed, and DeadlineExceeded if it was too slow. A
    non-zero exit code is returned.
    """
    began = time.monotonic()
    with temporary_directory() as scratch:
        tmpdir = scratch / "tmp"
        tmpdir.mkdir(mode=0o700)
        if user is not None:
            scratch.chmod(0o711)
            os.chown(tmpdir, *user)
        output_path = scratch / "output" if log is None else log
        guard = Guarded(
            argv,
            events=scratch / "events",
            env={**env, "TMPDIR": str(tmpdir)},
            cwd=cwd,
            remove=(scratch, *remove),
            user=user,
            limits=limits,
        )
        try:
            with output_path.open("ab") as output:
                start = output.tell()
                guard.start(output)
            death = _await_command(guard, began + deadline, heartbeat)
        finally:
            guard.finish()
        seconds = time.monotonic() - began
        with output_path.open("rb") as written:
            written.seek(max(start, written.seek(0, os.SEEK_END) - MOST_OUTPUT))
            text = written.read().decode(errors="replace")
    if death is None:
        raise DeadlineExceeded(_timeout_message(argv, deadline, text, log))
    return Completed(_returncode(death), text, seconds)


def _await_command(
    guard: Guarded, until: float, heartbeat: Callable[[], None]
) -> ProcessEvent | None:
    """Wait for the end of the command, and a little for its children; return None if it is too
    slow."""
    death = None
    while death is None:
        check_interrupted()
        left = until - time.monotonic()
        gone = guard.wait(min(0.05, max(0.0, left)))
        heartbeat()
        death = guard.events.death(guard.pid)
        if death is None and gone:
            raise CannotRun("the guard of a command was killed, and the command with it")
        if death is None and guard.paused():
            raise CannotRun("the guard of a command has been paused (SIGSTOP)")
        if death is None and left <= 0:
            return None
    guard.wait(max(0.0, min(STRAGGLER_GRACE, until - time.monotonic())))
    return death


def _returncode(death: ProcessEvent) -> int:
    if death.exit is not None:
        return death.exit
    if death.signal is not None:
        return -death.signal
    raise CannotRun(f"the exit status of {death.name} (pid {death.pid}) could not be read")


def _timeout_message(argv: Sequence[str], deadline: float, output: str, log: Path | None) -> str:
    """Describe in one line what was too slow, with the last line of its output."""
    message = f"{' '.join(argv)[:200]} was still running after {deadline:g} s and has been killed"
    lines = output.split("\n") if log is None else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if log is not None:
        return f"{message}; see {log}"
    return f"{message}; its last line: {last[:200]}" if last else message


def run_unguarded(
    argv: Sequence[str | Path],
    *,
    deadline: float,
    env: Mapping[str, str],
    largest: int = 1 << 20,
    **options: Any,
) -> Completed:
    """Run a short command without a guard, which would take as long to start as the command.

    At most ``largest`` bytes of its output are read. After that, or at the deadline, it and its
    process group are killed. Processes that have left the group, or that are left if wsgiproof is
    killed meanwhile, have the marker of the run and are ended with it. ``options`` are those of
    Popen.

    Raises OSError if it can't be executed, DeadlineExceeded if it was too slow, and CannotRun if a
    limit of the machine is reached.
    """
    began = time.monotonic()
    current_run()
    process = spawn(
        argv,
        env=env,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options},
        start_new_session=True,
    )
    output = b""
    try:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        poller = select.poll()
        poller.register(pipe, select.POLLIN)
        while len(output) < largest:
            left = began + deadline - time.monotonic()
            if left <= 0 or not poller.poll(round(left * 1000) + 1):
                raise DeadlineExceeded(_timeout_message(list(map(str, argv)), deadline, "", None))
            part = os.read(pipe, min(65536, largest - len(output)))
            if not part:
                break
            output += part
        with contextlib.suppress(OSError):
            await_end(process.pid, min(STRAGGLER_GRACE, began + deadline - time.monotonic()))
    finally:
        with interrupts_deferred():
            # It has not been reaped yet, so its pid and its process group can't have been reused.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return Completed(process.returncode, output.decode(errors="replace"), time.monotonic() - began)
