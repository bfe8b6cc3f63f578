"""What /proc says of a process's sockets to the deployment."""

from __future__ import annotations

import os
import socket

import pytest

from wsgiproof.observe import tcp
from wsgiproof.observe.processes import read_processes
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
