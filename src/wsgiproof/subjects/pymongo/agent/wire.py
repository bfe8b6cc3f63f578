"""MongoDB's wire protocol, as far as a planted fault with sockets of its own needs it."""

from __future__ import absolute_import

import socket
import ssl
import struct

_OP_MSG = 2013


def connect(workload, timeout=None):
    """Return a new socket to the deployment, encrypted if that has TLS. ``timeout`` is in seconds.

    Raises IOError or OSError.
    """
    host, port = workload.store.address
    connection = socket.create_connection((host, port), timeout)
    if workload.authority is None:
        return connection
    context = ssl.create_default_context(cafile=workload.authority)
    return context.wrap_socket(connection, server_hostname=host)


def ping(connection):
    """Send the command ``ping`` over a socket, and read the reply. Raises IOError or OSError."""
    from . import codec  # no fault may import the subject at its own import

    body = struct.pack("<Ib", 0, 0) + codec.encode({"ping": 1, "$db": "admin"})
    connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, _OP_MSG) + body)
    (length,) = struct.unpack("<i", _receive(connection, 4))
    _receive(connection, length - 4)


def _receive(connection, size):
    received = b""
    while len(received) < size:
        more = connection.recv(size - len(received))
        if not more:
            raise IOError("the server closed the connection")
        received += more
    return received
