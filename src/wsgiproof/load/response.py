"""The result of one request."""

from __future__ import annotations

import msgspec

from wsgiproof.records.traffic import Outcome


class Response(msgspec.Struct, frozen=True):
    """The response to one request.

    ``head`` is the status line and the headers. ``body`` is the part of the body that arrived, at
    most MAX_BODY bytes, also after a failure; ``body_digest`` is a CRC-32 of all of it, and
    ``body_size`` its bytes. ``status`` is None if the headers were not complete. ``error`` is one
    line for a person, empty if the response was in good order. ``started`` is CLOCK_MONOTONIC
    seconds; ``seconds`` is the time from then to the last byte of the response, or to its failure.
    ``resent`` is true if the server closed a kept connection before it sent a byte, and the request
    was sent again over a new one. ``label`` is the label of the target, and ``client_port`` the
    port of this machine that the connection had, or 0 if the target has no label.
    """

    url: str
    outcome: Outcome
    status: int | None
    body: bytes
    error: str
    started: float
    seconds: float
    resent: bool = False
    label: str = ""
    head: bytes = b""
    body_size: int = 0
    body_digest: int = 0
    client_port: int = 0
