"""Reading the stacks of a process, Python and C, while it lives or from its core file.

By pystack, which knows interpreters and the GIL, and reads a process without running anything in
it; by gdb, where there is one, for what pystack can't tell. Each is a process of its own with a
deadline: a corrupt interpreter may send either astray.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from wsgiproof.environ import child_environment
from wsgiproof.errors import WsgiproofError
from wsgiproof.observe.frames import combined, has, parse_gdb, parse_pystack
from wsgiproof.process import run
from wsgiproof.records import Thread

_DEADLINE = 15.0
"""Seconds; both take less than one for a process of 25 threads."""
_WORKS = 0.03
"""Seconds of the processor: what waits uses none, while its Python is read."""
_GDB_MOST_FRAMES = 80
NEEDS = "install pystack ('pip install pystack') or gdb"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, and by what; ``note`` says why it is nothing, or less than there might be."""

    threads: tuple[Thread, ...] = ()
    tool: str = ""
    note: str = ""

    def python_of(self, tid: int) -> bool:
        """Whether it tells Python of a thread."""
        return any(thread.tid == tid and has(thread, "python") for thread in self.threads)

    def frames_of(self, tid: int) -> bool:
        """Whether it tells what a thread was doing."""
        return any(thread.tid == tid and thread.frames for thread in self.threads)


def has_pystack() -> bool:
    """Whether pystack is installed beside us."""
    return importlib.util.find_spec("pystack") is not None


def read_process(pid: int, python: Reading | None = None) -> Reading:
    """The stacks of a process that is alive, whose ``python`` may have been read already.

    It is stopped for a tenth of a second, or for one where it takes gdb.
    """
    seen = _pystack("remote", str(pid), "--native-all")
    # A thread that works for several interpreters, and is in none, has no frames from pystack.
    if seen.frames_of(pid):
        return seen
    if not seen.threads:
        # While a server stops, interpreters know threads that have ended, of which there is no C.
        seen = python or _pystack("remote", str(pid))
    return _with_gdb(seen, ["-p", str(pid)])


def read_ending(pid: int) -> Reading:
    """The same of a process that is to end by a deadline, and may be all but done with its work.

    If it is at work, no time of it is taken: its Python is read as it runs, and that is all.
    """
    before = _processor(pid)
    python = _pystack("remote", str(pid), "--no-block")
    if _processor(pid) - before <= _WORKS:
        return read_process(pid, python)
    note = python.note or "only Python was read: it was at work, and no time of it was taken"
    return msgspec.structs.replace(python, note=note)


def _processor(pid: int) -> float:
    """Seconds of the processor that a process has used; 0 if it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def read_core(core: Path, executable: str, crashed: int) -> Reading:
    """The stacks in a core file; the thread ``crashed`` is the one that matters (0: unknown)."""
    seen = _pystack("core", str(core), "--native-all")
    # Of a thread whose interpreter is gone pystack knows no Python, and leaves out what runs it.
    if seen.threads and (not crashed or seen.python_of(crashed)):
        return seen
    return _with_gdb(seen, [executable, str(core)])


def _pystack(*arguments: str) -> Reading:
    if not has_pystack():
        return Reading(note=NEEDS)
    said = _said([sys.executable, "-I", "-m", "pystack", *arguments, "--no-color"])
    if isinstance(said, Reading):
        return said
    threads = parse_pystack(said)
    if not threads:
        return Reading(note=f"pystack: {_complaint(said)}")
    return Reading(threads=threads, tool="pystack")


def _with_gdb(seen: Reading, what: Sequence[str]) -> Reading:
    """What ``seen`` has, and gdb's frames for each thread of which it has no C, or no Python."""
    gdb = shutil.which("gdb")
    if gdb is None:
        note = seen.note or "not of all threads: gdb would tell more, and is not installed"
        return msgspec.structs.replace(seen, note=note)
    command = [gdb, "-batch", "-nx", "-iex", "set debuginfod enabled off"]
    command += ["-iex", "set auto-load off", "-ex", "set print frame-arguments none"]
    said = _said([*command, "-ex", f"thread apply all backtrace {_GDB_MOST_FRAMES}", *what])
    if isinstance(said, Reading):
        return msgspec.structs.replace(seen, note=seen.note or said.note)
    threads = parse_gdb(said)
    if not threads:
        return msgspec.structs.replace(seen, note=seen.note or f"gdb: {_complaint(said)}")
    told = {thread.tid: thread for thread in seen.threads}
    for thread in threads:
        known = told.get(thread.tid, thread)
        whole = has(known, "c") and has(known, "python")
        frames = known.frames if whole else combined(known.frames, thread.frames)
        told[thread.tid] = msgspec.structs.replace(known, frames=frames)
    tool = f"{seen.tool} and gdb" if seen.tool else "gdb"
    return Reading(threads=tuple(told.values()), tool=tool, note=seen.note)


def _said(command: Sequence[str]) -> str | Reading:
    """What it printed, or why it came to no end."""
    try:
        return run(command, deadline=_DEADLINE, env=child_environment()).output
    except WsgiproofError as error:
        return Reading(note=str(error)[:300])


def _complaint(output: str) -> str:
    """The line that tells what went wrong, and what mends it where that is known."""
    lines = [line.strip("\N{SKULL} ") for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Using executable")]
    told = next((line for line in lines if re.search("rror|denied|permitted", line)), None)
    told = told or (lines[-1] if lines else "it said nothing")
    if "permitted" in told or "denied" in told:
        told += (
            "; run as root, or allow it ('sysctl -w kernel.yama.ptrace_scope=0', for the whole "
            "machine; of a container, the capability SYS_PTRACE)"
        )
    return told[:400]
