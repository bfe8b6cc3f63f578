"""Loopback ports, chosen by the kernel."""

from __future__ import annotations

import socket

from wsgiproof import limits
from wsgiproof.errors import CannotRun, describe

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a loopback port that is free at this moment.

    Another process may take it before the intended server binds it. Starting the server then raises
    :class:`wsgiproof.errors.PortTaken`, and another port is chosen. Raises :class:`CannotRun` if no
    port is free.
    """
    try:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
            return port
    except OSError as error:
        raise CannotRun(limits.why_no_port() or describe(error)) from None
