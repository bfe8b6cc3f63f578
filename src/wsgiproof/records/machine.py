"""What was found on the machine, and what runs on it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wsgiproof.records.observed import Role


class Prerequisite(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a run needs on this machine: what was found, or the problem and its fix."""

    name: str
    found: str = ""
    problem: str = ""


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """The running server of one cell, as ``wsgiproof serve`` shows it."""

    cell: str
    urls: Mapping[str, str]
    """The application group of each URL."""
    backend: str
    """Where its backend is, without credentials; empty if it has none."""
    database: str
    """The name of the subject's database; empty if it has none."""
    pids: Mapping[Role, tuple[int, ...]]
    config: str
    error_log: str
