"""What /proc says of a process: its sockets to the deployment, and its memory."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from wsgiproof.observe import tcp
from wsgiproof.observe.processes import anonymous_memory, read_processes
from wsgiproof.records.observed import Role


def test_the_sockets_of_a_worker_have_their_states() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as stale:
            listener.accept()[0].close()
            assert stale.recv(1) == b"", "the other end is not closed yet"
            with socket.create_connection(("127.0.0.1", port)) as alive, listener.accept()[0]:
                snapshot = read_processes({os.getpid(): Role.WORKER}, {port})
                ends = {(one.getsockname()[1], port) for one in (stale, alive)}
    (own,) = snapshot.processes
    assert snapshot.sockets == ends
    assert own.connections == 2
    assert own.states == {"ESTABLISHED": 1, "CLOSE_WAIT": 1}


def test_only_workers_have_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            snapshot = read_processes({os.getpid(): Role.PARENT}, {port})
    assert snapshot.sockets == frozenset()
    assert (snapshot.processes[0].connections, snapshot.processes[0].states) == (0, {})


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_kernel_that_does_not_list_its_sockets_leaves_proc(
    family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(family: int) -> list[tuple[int, tuple[int, int], int]]:
        raise OSError

    host = "127.0.0.1" if family is socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        clients = [socket.create_connection((host, port)) for _ in range(3)]
        accepted = [listener.accept()[0] for _ in clients]
        accepted[0].close()
        assert clients[0].recv(1) == b"", "the other end is not closed yet"
        clients[1].close()
        assert accepted[1].recv(1) == b"", "the other end is not closed yet"
        accepted[1].close()  # which leaves the client's end in TIME_WAIT, without a process
        found = tcp.sockets_to({port})
        monkeypatch.setattr(tcp, "_dumped", refused)
        read = tcp.sockets_to({port})
        ends = {(one.getsockname()[1], port) for one in (clients[0], clients[2])}
        links = {f"socket:[{os.fstat(one.fileno()).st_ino}]" for one in (clients[0], clients[2])}
        for one in (*clients, *accepted):
            one.close()
    assert found == read
    assert {one.ends for one in found.values()} == ends
    assert set(found) == links
    assert {one.state for one in found.values()} == {"ESTABLISHED", "CLOSE_WAIT"}


SIZE = 16 << 20


def test_anonymous_memory_is_what_was_written_and_is_no_file() -> None:
    content = b"\1" * SIZE
    before = anonymous_memory(os.getpid())
    with mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE) as private:
        mapped = anonymous_memory(os.getpid())
        private.write(content)
        written = anonymous_memory(os.getpid())
    after = anonymous_memory(os.getpid())
    assert before and mapped and written and after
    assert abs(mapped - before) < SIZE / 2
    assert written - mapped > 0.9 * SIZE
    assert abs(after - before) < SIZE / 2


def test_pages_of_a_file_that_no_other_process_has_are_not_anonymous_memory(
    tmp_path: Path,
) -> None:
    """As those of a library are, once the last other process with it has ended."""
    file = tmp_path / "library.so"
    file.write_bytes(b"\1" * SIZE)
    read = mmap.ACCESS_READ
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), SIZE, access=read) as own:
        before = psutil.Process().memory_full_info().uss, anonymous_memory(os.getpid())
        assert sum(own[::4096]) == SIZE // 4096
        after = psutil.Process().memory_full_info().uss, anonymous_memory(os.getpid())
    assert before[1] and after[1]
    assert after[0] - before[0] > SIZE / 2
    assert abs(after[1] - before[1]) < SIZE / 2


def test_memory_that_cannot_be_read_is_unknown() -> None:
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert anonymous_memory(ended.pid) is None, "a zombie"
    ended.wait()
    assert anonymous_memory(ended.pid) is None
