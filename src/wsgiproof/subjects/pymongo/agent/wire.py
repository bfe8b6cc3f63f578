"""MongoDB's wire protocol, as far as a planted fault with sockets of its own needs it."""

from __future__ import absolute_import

import struct

_OP_MSG = 2013


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
