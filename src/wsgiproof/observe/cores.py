"""Core files: where a process leaves its own, whose thread died, and why there is none."""

from __future__ import annotations

import errno
import os
import resource
import struct
from itertools import islice
from pathlib import Path

from wsgiproof.files import Directory, UnsafeFile, open_regular
from wsgiproof.observe.evidence import Evidence, check_ours

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
CORES = "cores"
"""The directory beside the evidence where cores are read."""
LARGEST_CORE = 1 << 30
"""Bytes; a process that runs Python leaves some 50 million."""
_MOST_FILES = 100
"""Entries of a process's directory that are looked at; it leaves one."""
_PROGRAM_HEADER = 56
"""Bytes of an Elf64_Phdr."""
_NOTE_SEGMENT = 4
_STATUS_NOTE = 1
"""NT_PRSTATUS, one for each thread; that of the thread that died is the first, see core(5)."""
_PID_IN_STATUS = 32
"""Bytes from the start of a struct elf_prstatus (<sys/procfs.h>) to its pr_pid, on 64 bits."""


def take_core(evidence: Evidence, pid: int) -> Path | None:
    """The core file of a process that worked in its own directory in the evidence; None if there
    is none that can be trusted to be one.

    It is moved out of there, to where only we can write: what reads it is given its path.
    """
    place = evidence.path.with_name(CORES)
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        with (
            Directory(place) as ours,
            Directory(evidence.path) as theirs,
            theirs.below(f"core-{pid}") as left,
            os.scandir(left.fd) as entries,
        ):
            for entry in islice(entries, _MOST_FILES):
                if _is_core(left, entry.name, theirs):
                    return _moved(entry.name, left, f"core-{pid}", ours, theirs)
    except FileNotFoundError:
        return None
    except OSError as error:
        evidence.note("core", f"core-{pid}: {error.strerror}")
    return None


def _moved(name: str, left: Directory, new: str, ours: Directory, theirs: Directory) -> Path:
    """Move a file, and look again at what has come: nobody can put another in its place now."""
    os.rename(name, new, src_dir_fd=left.fd, dst_dir_fd=ours.fd)
    if not _is_core(ours, new, theirs):
        raise UnsafeFile(errno.EPERM, "it was replaced while it was read")
    return ours.path / new


def _is_core(directory: Directory, name: str, theirs: Directory) -> bool:
    """Whether a file is a core of bearable size that a process of theirs has left."""
    try:
        with directory.open(name) as file:
            status = os.fstat(file.fileno())
            if status.st_uid != 0:  # which the kernel makes some cores of, see core(5)
                check_ours(status, theirs)
            whole = status.st_nlink == 1 and status.st_size <= LARGEST_CORE
            return whole and file.read(4) == b"\x7fELF"
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
        with open_regular(core) as file:
            header = file.read(64)
            (offset,) = struct.unpack_from("=Q", header, 32)
            size, number = struct.unpack_from("=HH", header, 54)
            if size != _PROGRAM_HEADER:
                return 0
            file.seek(offset)
            for _ in range(number):
                kind, _, start = struct.unpack_from("=IIQ", file.read(size))
                if kind == _NOTE_SEGMENT:
                    file.seek(start)
                    return _first_status(file.read(4096))
    except (OSError, ValueError, OverflowError, struct.error):
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
