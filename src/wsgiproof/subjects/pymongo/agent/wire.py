"""MongoDB's wire protocol, as far as a planted fault with sockets of its own needs it.

Failures are raised as PyMongo raises them. An OSError that escapes during an outage is a bug of a
driver, and only the planted faults that are meant to have it may have it.
"""

from __future__ import absolute_import

import socket
import ssl
import struct
from contextlib import contextmanager

_OP_MSG = 2013


def connect(workload, timeout=None):
    """Return a new socket to the deployment, encrypted if that has TLS. ``timeout`` is in seconds.

    Raises pymongo.errors.AutoReconnect if there is no server.
    """
    host, port = workload.store.address
    with _failures_as_of_a_driver():
        connection = socket.create_connection((host, port), timeout)
        if workload.authority is None:
            return connection
        context = ssl.create_default_context(cafile=workload.authority)
        return context.wrap_socket(connection, server_hostname=host)


def ping(connection):
    """Send the command ``ping`` over a socket, and read the reply.

    Raises pymongo.errors.AutoReconnect if the server is gone.
    """
    from . import codec  # no fault may import the subject at its own import

    body = struct.pack("<Ib", 0, 0) + codec.encode({"ping": 1, "$db": "admin"})
    with _failures_as_of_a_driver():
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


@contextmanager
def _failures_as_of_a_driver():
    from pymongo.errors import AutoReconnect

    try:
        yield
    except (IOError, OSError) as error:
        raise AutoReconnect(str(error))
