"""What /proc says of a process's sockets to the deployment."""

from __future__ import annotations

import os
import socket

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
