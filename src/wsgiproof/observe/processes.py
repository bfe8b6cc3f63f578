"""Reads the counted resources of processes from ``/proc``."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from wsgiproof import limits
from wsgiproof.observe.tcp import Socket, sockets_to
from wsgiproof.records.observed import ProcessSample, Role

_SYSTEM = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")
"""The directories of the system's libraries; those of Python are recorded all the same."""
_ANONYMOUS = re.compile(r"^(?:Anonymous|Swap): +(\d+) kB$", re.M)


class ProcessSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of all processes of a server, and their sockets to the deployment.

    ``sockets`` are pairs of a local port and the port of the member at the other end.
    """

    processes: tuple[ProcessSample, ...]
    sockets: frozenset[tuple[int, int]]


def read_processes(
    living: Mapping[int, Role], deployment_ports: Collection[int]
) -> ProcessSnapshot:
    """Read every process of ``living``. The counts of one that is gone or unreadable are None.

    Raises OSError if wsgiproof's own limits prevent it.
    """
    to_deployment = sockets_to(deployment_ports)
    samples = []
    sockets: set[tuple[int, int]] = set()
    for pid, role in sorted(living.items()):
        sample, own = _read(pid, role, to_deployment)
        samples.append(sample)
        sockets |= own
    return ProcessSnapshot(processes=tuple(samples), sockets=frozenset(sockets))


def _read(
    pid: int, role: Role, to_deployment: Mapping[str, Socket]
) -> tuple[ProcessSample, set[tuple[int, int]]]:
    try:
        threads = psutil.Process(pid).num_threads()
        links = descriptor_links(pid)
    except (psutil.Error, OSError) as error:
        if limits.explain(error):
            raise
        return ProcessSample(
            pid=pid, role=role, descriptors=None, threads=None, connections=None
        ), set()
    own = {to_deployment[link] for link in links if link in to_deployment}
    sockets = own if role is Role.WORKER else set[Socket]()
    sample = ProcessSample(
        pid=pid,
        role=role,
        descriptors=len(links),
        threads=threads,
        connections=len(sockets),
        states=dict(Counter(socket.state for socket in sockets)),
        kinds=dict(Counter(map(_kind, links))),
    )
    return sample, {socket.ends for socket in sockets}


def processor_time(pid: int) -> float:
    """Return the seconds of processor time that a process has used; 0 if it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def descriptor_links(pid: int) -> list[str]:
    """Return the link in ``/proc/PID/fd`` of each open descriptor of a process.

    A link is ``socket:[inode]``, ``pipe:[inode]``, ``anon_inode:[eventpoll]`` or a path
    (proc_pid_fd(5)). Raises OSError if the process is gone or unreadable.
    """
    links = []
    directory = f"/proc/{pid}/fd"
    for descriptor in os.listdir(directory):
        with suppress(FileNotFoundError):  # it was closed meanwhile
            links.append(os.readlink(f"{directory}/{descriptor}"))
    return links


def _kind(link: str) -> str:
    kind, colon, rest = link.partition(":")
    if link.startswith("/") or not colon:
        return "file"
    return rest.strip("[]") if kind == "anon_inode" else kind


def loaded_libraries(pid: int) -> set[str]:
    """Return the paths of the shared objects that a process has mapped, without the system's."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return set()
    # proc_pid_maps(5): address, permissions, offset, device, inode, path.
    paths = re.findall(r"^\S+ \S+ \S+ \S+ \S+ +(/.*\.so[.0-9]*)$", maps, re.M)
    return {path for path in paths if not path.startswith(_SYSTEM) or "python" in path}


def address_space(pid: int) -> int | None:
    """Return the bytes of a process's address space; None if it is gone.

    It is the only metric that shows a mapping that is shared, or that nobody has touched.
    """
    try:
        return int(psutil.Process(pid).memory_info().vms)
    except psutil.Error:
        return None


def anonymous_memory(pid: int) -> int | None:
    """Return the bytes of a process's memory that is no part of a file, resident or swapped out;
    None if they can't be read.

    ``Anonymous`` and ``Swap`` of ``/proc/PID/smaps_rollup``. The unique set size has the pages of
    files as well: those of a library are unique to a process until another one loads it, so that
    another Apache that starts or ends changes it by 5 MB. Raises as :func:`read_processes`.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            found = _ANONYMOUS.findall(rollup.read())
    except OSError as error:
        if limits.explain(error):
            raise
        return None
    return 1024 * sum(map(int, found)) if found else None
