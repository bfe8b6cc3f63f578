"""What comes of one request."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How one request ended."""

    OK = "ok"
    REFUSED = "refused"  # no connection: nobody listens, or no route
    RESET = "reset"  # the connection was reset before the answer was complete
    TIMEOUT = "timeout"  # the answer was not complete at the deadline
    TRUNCATED = "truncated"  # closed in good order, but before the answer was complete
    MALFORMED = "malformed"  # not HTTP/1, bad framing, over a bound, or bytes after the end
    STATUS = "status"  # complete, but not 200


class Response(msgspec.Struct, frozen=True):
    """What came back for one request.

    ``body`` is what arrived of it, at most MAX_BODY bytes, on failure too. ``status`` is None until
    the headers were complete. ``error`` is one line for a person, and empty for an
    answer in good order. ``started`` is CLOCK_MONOTONIC seconds; ``seconds`` run from there to the
    answer's last byte, or to its failure. ``resent``: the connection that was kept for it was
    closed before a byte of an answer came, and it went over a new one. ``label`` is its target's.
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
