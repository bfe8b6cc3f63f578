"""The TCP sockets of this machine, from the kernel's own list of them (sock_diag(7)).

A load of new connections leaves thousands of sockets in TIME_WAIT, which belong to no process any
more. The kernel leaves them out here, so this takes a quarter of the processor time that reading
``/proc/net/tcp`` does. Where the kernel does not have it, that file is read.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

_STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    11: "CLOSING",
}
"""The states that a connected socket of a process may have (the kernel's
include/net/tcp_states.h)."""
_ASKED = sum(1 << state for state in _STATES)
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_AND_DUMP = 0x301
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
"""``nlmsghdr`` of netlink(7): length, type, flags, sequence, port."""
_REQUEST = struct.Struct("=BBBxI48x")
"""``inet_diag_req_v2``: family, protocol, extensions, states, and the id of no socket."""
_MESSAGE = struct.Struct("=BBBB2s2s60xI")
"""``inet_diag_msg``: family, state, timer, retransmits, both ports, and the inode."""
_LARGEST = 1 << 18


class Socket(msgspec.Struct, frozen=True):
    """A TCP socket: the ports of both ends, local and remote, and its state."""

    ends: tuple[int, int]
    state: str


def sockets_to(ports: Collection[int]) -> dict[str, Socket]:
    """Return every TCP socket to one of these remote ports, by its link in ``/proc/PID/fd``."""
    if not ports:
        return {}
    try:
        found = [*_dumped(socket.AF_INET), *_dumped(socket.AF_INET6)]
    except OSError:  # a kernel without it, or one that refuses it
        found = list(_listed())
    return {
        f"socket:[{inode}]": Socket(ends, _STATES.get(state, str(state)))
        for inode, ends, state in found
        if ends[1] in ports
    }


def _dumped(family: int) -> Iterator[tuple[int, tuple[int, int], int]]:
    """Yield the inode, the ports and the state of each socket, as the kernel dumps them."""
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ASKED)
    size = _HEADER.size + len(request)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _REQUEST_AND_DUMP, 1, 0) + request)
        while True:
            data = kernel.recv(_LARGEST)
            at = 0
            while at < len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind == _DONE:
                    return
                body = at + _HEADER.size
                if kind == _ERROR:
                    raise OSError(-struct.unpack_from("=i", data, body)[0], "sock_diag")
                _, state, _, _, local, remote, inode = _MESSAGE.unpack_from(data, body)
                yield inode, (_port(local), _port(remote)), state
                at += (length + 3) & ~3  # messages are aligned


def _port(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _listed() -> Iterator[tuple[int, tuple[int, int], int]]:
    """Yield the same from ``/proc/net``.

    psutil does that for one process at a time, and parses the whole table in Python each time. That
    takes 50 ms for 12,000 lines.
    """
    # proc_net(5): sl, local, remote, st, queues, timer, retransmits, uid, timeout, inode.
    ends = r"[0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:([0-9A-F]{4})"
    line = re.compile(rf"^ *\d+: {ends} (\S+) +(?:\S+ +){{5}}([1-9]\d*) ".encode(), re.M)
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            for local, remote, state, inode in line.findall(table.read_bytes()):
                yield int(inode), (int(local, 16), int(remote, 16)), int(state, 16)
