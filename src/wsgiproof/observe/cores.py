"""Core files: where a process leaves its own, whose thread died, and why there is none."""

from __future__ import annotations

import resource
import struct
from pathlib import Path

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
_NOTE_SEGMENT = 4
_STATUS_NOTE = 1
"""NT_PRSTATUS, one for each thread; that of the thread that died is the first, see core(5)."""
_PID_IN_STATUS = 32
"""Bytes from the start of a struct elf_prstatus (<sys/procfs.h>) to its pr_pid, on 64 bits."""


def find_core(evidence: Path, pid: int) -> Path | None:
    """The core file of a process that worked in its own directory below ``evidence``."""
    cores = sorted((evidence / f"core-{pid}").glob("*"))
    return next((path for path in cores if _is_core(path)), None)


def _is_core(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def why_no_core() -> str:
    """Why no process here can leave a core file where we find it; empty if it can."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        return "core files are forbidden here: raise the hard limit ('ulimit -Hc unlimited')"
    try:
        pattern = CORE_PATTERN.read_text().strip()
    except OSError:
        return ""
    if pattern.startswith("|"):
        return (
            f"the kernel gives core files to {pattern[1:].split()[0]}: have them written instead "
            "('sysctl -w kernel.core_pattern=core', for the whole machine), or look there "
            "('coredumpctl')"
        )
    if "/" in pattern:
        return (
            f"the kernel writes core files to {pattern}: look there, or have them written where "
            "the process works ('sysctl -w kernel.core_pattern=core', for the whole machine)"
        )
    return ""


def crashed_thread(core: Path) -> int:
    """The tid of the thread that took the signal; 0 if the file doesn't tell.

    From the ELF notes, see elf(5): 64 bits, of this machine's byte order.
    """
    try:
        with core.open("rb") as file:
            header = file.read(64)
            (offset,) = struct.unpack_from("=Q", header, 32)
            size, number = struct.unpack_from("=HH", header, 54)
            file.seek(offset)
            for _ in range(number):
                kind, _, start = struct.unpack_from("=IIQ", file.read(size))
                if kind == _NOTE_SEGMENT:
                    file.seek(start)
                    return _first_status(file.read(4096))
    except (OSError, ValueError, struct.error):
        pass
    return 0


def _first_status(notes: bytes) -> int:
    at = 0
    while at < len(notes):
        name_size, size, kind = struct.unpack_from("=III", notes, at)
        at += 12 + _aligned(name_size)
        if kind == _STATUS_NOTE:
            return int(struct.unpack_from("=i", notes, at + _PID_IN_STATUS)[0])
        at += _aligned(size)
    return 0


def _aligned(size: int) -> int:
    return (size + 3) & ~3
