"""Core files: finds them, reads which thread crashed, and says why there is none."""

from __future__ import annotations

import errno
import os
import resource
import struct
from itertools import islice
from pathlib import Path

from wsgiproof.agent.protocol import core_directory
from wsgiproof.files import Directory, UnsafeFile, open_regular
from wsgiproof.observe.evidence import Evidence, check_owner

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
CORES = "cores"
"""The directory beside the evidence to which core files are moved before they are read."""
LARGEST_CORE = 1 << 30
"""Bytes; a process that runs Python leaves some 50 million."""
_MOST_FILES = 100
"""Entries of a process's directory that are examined; a process leaves one."""
_PROGRAM_HEADER = 56
"""Bytes of an Elf64_Phdr."""
_NOTE_SEGMENT = 4
_STATUS_NOTE = 1
"""NT_PRSTATUS, one for each thread; that of the crashed thread is the first, see core(5)."""
_PID_IN_STATUS = 32
"""Bytes from the start of a struct elf_prstatus (<sys/procfs.h>) to its pr_pid, on 64 bits."""


def take_core(evidence: Evidence, pid: int) -> Path | None:
    """Return the core file of a process, which works in its own directory in the evidence.

    None if there is no file that is certain to be one. The file is moved to a directory that only
    wsgiproof can write, because pystack and gdb are given its path.
    """
    place = evidence.path.with_name(CORES)
    own = core_directory(pid)
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        with (
            Directory(place) as private,
            Directory(evidence.path) as shared,
            shared.below(own) as source,
            os.scandir(source.fd) as entries,
        ):
            for entry in islice(entries, _MOST_FILES):
                if _is_core(source, entry.name, shared):
                    return _move(entry.name, source, own, private, shared)
    except FileNotFoundError:
        return None
    except OSError as error:
        evidence.note("core", f"{own}: {error.strerror}")
    return None


def _move(name: str, source: Directory, new: str, private: Directory, shared: Directory) -> Path:
    """Move a file and check it again, since nobody can replace it any more."""
    os.rename(name, new, src_dir_fd=source.fd, dst_dir_fd=private.fd)
    if not _is_core(private, new, shared):
        raise UnsafeFile(errno.EPERM, "it was replaced while it was read")
    return private.path / new


def _is_core(directory: Directory, name: str, shared: Directory) -> bool:
    """Return whether a file is a core file, not too large, of the owner of the evidence."""
    try:
        with directory.open(name) as file:
            status = os.fstat(file.fileno())
            if status.st_uid != 0:  # the kernel gives some core files to root, see core(5)
                check_owner(status, shared)
            acceptable = status.st_nlink == 1 and status.st_size <= LARGEST_CORE
            return acceptable and file.read(4) == b"\x7fELF"
    except OSError:
        return False


def why_no_core() -> str:
    """Return why no process can leave a core file where wsgiproof finds it; empty if it can."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        return "core files are forbidden here: raise the hard limit ('ulimit -Hc unlimited')"
    try:
        pattern = CORE_PATTERN.read_text().strip()
    except OSError:
        return ""
    if pattern.startswith("|"):
        return (
            f"the kernel pipes core files to {pattern[1:].split()[0]}: look for them there "
            "('coredumpctl'), or let the kernel write them ('sysctl -w kernel.core_pattern=core', "
            "for the whole machine)"
        )
    if "/" in pattern:
        return (
            f"the kernel writes core files to {pattern}: look for them there, or let the kernel "
            "write them to the process's working directory ('sysctl -w kernel.core_pattern=core', "
            "for the whole machine)"
        )
    return ""


def crashed_thread(core: Path) -> int:
    """Return the tid of the thread that received the signal; 0 if the file does not say.

    It is read from the ELF notes, see elf(5): 64 bits, in this machine's byte order.
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
