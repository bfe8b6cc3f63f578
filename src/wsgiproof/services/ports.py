"""Ports on loopback, chosen by the kernel."""

from __future__ import annotations

import socket

from wsgiproof import limits
from wsgiproof.errors import CannotRun, describe

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody has bound right now.

    Somebody may take it before the server that it is meant for binds it. The servers say so
    (:class:`wsgiproof.errors.PortTaken`), and their starters then choose another. Raises
    :class:`CannotRun` if there is none.
    """
    try:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
            return port
    except OSError as error:
        raise CannotRun(limits.no_port() or describe(error)) from None
