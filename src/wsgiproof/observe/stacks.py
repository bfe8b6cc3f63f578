"""Reads the stacks of a process, Python and C, while it runs or from its core file.

pystack knows interpreters and the GIL, and reads a process without running code in it. gdb, if it
is installed, adds what pystack can't read. Each runs in its own process with a deadline, since a
corrupt interpreter may make either of them hang.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
import psutil

from wsgiproof.errors import WsgiproofError
from wsgiproof.observe.frames import combined, has, parse_gdb, parse_pystack
from wsgiproof.process.commands import run
from wsgiproof.process.environ import child_environment
from wsgiproof.records.observed import Thread

_DEADLINE = 15.0
"""Seconds; both take less than one for a process of 25 threads."""
_ENDING_DEADLINE = 1.5
"""Seconds that a process may be stopped that has to end by a deadline: Apache allows three."""
_WORKS = 0.03
"""Seconds of CPU time: a waiting process uses none while its Python stack is read."""
_LOOK_EVERY = 0.02
"""Seconds between two looks at whether a process is stopped."""
_GDB_MOST_FRAMES = 80
_ALLOW = (
    "run as root, or allow it ('sysctl -w kernel.yama.ptrace_scope=0', for the whole machine; in a "
    "container, the capability SYS_PTRACE)"
)
PTRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
"""Which processes a user may trace; only root where it is 1 or 2, for what is not a descendant (the
kernel's docs, "Yama")."""
_SYS_PTRACE = 19
"""The number of the capability, <linux/capability.h>."""
_NOBODY = 3
"""The value with which nobody may, until the next boot."""
NEEDS = "install pystack ('pip install pystack') or gdb"


class StackReading(msgspec.Struct, frozen=True, kw_only=True):
    """The threads that were read, and by which tool; ``note`` says why some are missing."""

    threads: tuple[Thread, ...] = ()
    tool: str = ""
    note: str = ""
    stopped: float = 0.0
    """Seconds for which the process was stopped, at most."""

    def python_of(self, tid: int) -> bool:
        """Return whether it has Python frames of a thread."""
        return any(thread.tid == tid and has(thread, "python") for thread in self.threads)

    def frames_of(self, tid: int) -> bool:
        """Return whether it has any frame of a thread."""
        return any(thread.tid == tid and thread.frames for thread in self.threads)


def why_no_stack() -> str:
    """Return why the stacks of a running process can't be read; empty if they can."""
    if os.geteuid() == 0 and not _may_trace():
        return "root does not have the capability SYS_PTRACE: give it to the container (--cap-add)"
    try:
        scope = int(PTRACE_SCOPE.read_text())
    except (OSError, ValueError):  # a kernel without Yama
        return ""
    if scope == _NOBODY or (scope and os.geteuid() != 0):
        return f"the kernel forbids to read them (kernel.yama.ptrace_scope is {scope}): {_ALLOW}"
    return ""


def _may_trace() -> bool:
    """Return whether this process may trace those of other users; capabilities(7)."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _SYS_PTRACE & 1)


def has_pystack() -> bool:
    """Return whether pystack is installed in wsgiproof's environment."""
    return importlib.util.find_spec("pystack") is not None


def read_process(
    pid: int, python: StackReading | None = None, deadline: float = _DEADLINE
) -> StackReading:
    """Read the stacks of a living process, whose ``python`` stacks may have been read already.

    The process is stopped for a tenth of a second, or for a second if gdb is needed, and for
    ``deadline`` seconds at most.
    """
    began = time.monotonic()
    with _StopWatch(pid) as watch:
        reading = _pystack("remote", str(pid), "--native-all", deadline=deadline)
        # pystack has no frames of a thread that works for several interpreters and is in none.
        if not reading.frames_of(pid):
            if not reading.threads:
                # While a server stops, interpreters know threads that have ended and have no C
                # stack.
                reading = python or _pystack("remote", str(pid), deadline=deadline)
            left = deadline - (time.monotonic() - began)
            if left > 0:
                reading = _with_gdb(reading, ["-p", str(pid)], deadline=left)
            elif not reading.note:
                note = "some frames are missing: there was no time left for gdb to read them"
                reading = msgspec.structs.replace(reading, note=note)
    return msgspec.structs.replace(reading, stopped=watch.seconds)


class _StopWatch:
    """Measures for how long a process is stopped, at most, in a thread while a context lasts.

    On a busy machine the tools take most of their time to start, and the process runs on.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        last, was_stopped, over = time.monotonic(), False, False
        while not over:
            over = self._over.wait(_LOOK_EVERY)
            now, is_stopped = time.monotonic(), _is_stopped(self._pid)
            if was_stopped or is_stopped:
                self.seconds += now - last
            last, was_stopped = now, is_stopped


def _is_stopped(pid: int) -> bool:
    """Return whether a process is stopped, by a debugger or by a signal."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][:1] in ("t", "T")


def read_ending(pid: int) -> StackReading:
    """Read the stacks of a process that has to end by a deadline.

    If it is busy it is not stopped, since that could make it miss the deadline. Then only its
    Python stacks are read, while it runs.
    """
    before = _cpu_time(pid)
    python = _pystack("remote", str(pid), "--no-block")
    if _cpu_time(pid) - before <= _WORKS:
        return read_process(pid, python, _ENDING_DEADLINE)
    note = python.note or "only Python was read: the process was busy, so it was not stopped"
    return msgspec.structs.replace(python, note=note)


def _cpu_time(pid: int) -> float:
    """Return the seconds of CPU time that a process has used; 0 if it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def read_core(core: Path, executable: str, crashed: int) -> StackReading:
    """Read the stacks in a core file; ``crashed`` is the tid that matters (0: unknown)."""
    reading = _pystack("core", str(core), "--native-all")
    # pystack has no Python frames of a thread whose interpreter is gone, nor the C frames there.
    if reading.threads and (not crashed or reading.python_of(crashed)):
        return reading
    return _with_gdb(reading, [executable, str(core)])


def _pystack(*arguments: str, deadline: float = _DEADLINE) -> StackReading:
    if not has_pystack():
        return StackReading(note=NEEDS)
    command = [sys.executable, "-I", "-m", "pystack", *arguments, "--no-color"]
    output = _output(command, deadline)
    if isinstance(output, StackReading):
        return output
    threads = parse_pystack(output)
    if not threads:
        return StackReading(note=f"pystack: {_error_line(output)}")
    return StackReading(threads=threads, tool="pystack")


def _with_gdb(
    reading: StackReading, what: Sequence[str], deadline: float = _DEADLINE
) -> StackReading:
    """Return ``reading`` with gdb's frames for each thread without C frames or without Python."""
    gdb = shutil.which("gdb")
    if gdb is None:
        note = reading.note or "some frames are missing: install gdb to read them"
        return msgspec.structs.replace(reading, note=note)
    command = [gdb, "-batch", "-nx", "-iex", "set debuginfod enabled off"]
    command += ["-iex", "set auto-load off", "-ex", "set print frame-arguments none"]
    command += ["-ex", f"thread apply all backtrace {_GDB_MOST_FRAMES}", *what]
    output = _output(command, deadline)
    if isinstance(output, StackReading):
        return msgspec.structs.replace(reading, note=reading.note or output.note)
    threads = parse_gdb(output)
    if not threads:
        return msgspec.structs.replace(reading, note=reading.note or f"gdb: {_error_line(output)}")
    by_tid = {thread.tid: thread for thread in reading.threads}
    for thread in threads:
        known = by_tid.get(thread.tid, thread)
        complete = has(known, "c") and has(known, "python")
        frames = known.frames if complete else combined(known.frames, thread.frames)
        by_tid[thread.tid] = msgspec.structs.replace(known, frames=frames)
    tool = f"{reading.tool} and gdb" if reading.tool else "gdb"
    return StackReading(threads=tuple(by_tid.values()), tool=tool, note=reading.note)


def _output(command: Sequence[str], deadline: float) -> str | StackReading:
    """Run a command and return its output, or a reading that says why it failed."""
    try:
        return run(command, deadline=deadline, env=child_environment()).output
    except WsgiproofError as error:
        return StackReading(note=str(error)[:300])


def _error_line(output: str) -> str:
    """Return the line with the error, and the fix if it is known."""
    lines = [line.strip("\N{SKULL} ") for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Using executable")]
    error = next((line for line in lines if re.search("rror|denied|permitted", line)), None)
    error = error or (lines[-1] if lines else "it printed nothing")
    if "permitted" in error or "denied" in error:
        error += f"; {_ALLOW}"
    return error[:400]
