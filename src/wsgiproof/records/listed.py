"""A matrix that was listed: its cells, and which exact versions its values stand for."""

from __future__ import annotations

import msgspec

from wsgiproof.records.run import Excluded


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What one value of an axis of versions stands for, for one Python."""

    axis: str
    python: str
    """The name of the Python, as in the ids of cells."""
    asked: str
    """The value as it was asked for, such as ``latest``; empty if it is the default."""
    exact: str = ""
    """The value that means the same at any time; empty if there is no version for this Python."""
    reason: str = ""
    """Why there is none."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment of some cells holds if it is built now."""

    python: str
    """The name of the Python, as in the ids of cells."""
    subject: dict[str, str]
    """The packages of the subject by name: the version, and the digest of a file or a tree."""
    packages: dict[str, str]
    """The exact versions of what is installed beside them, by name."""


class ListedCell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell of the list."""

    id: str
    axes: dict[str, str | int | bool] = {}


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What ``wsgiproof list --json`` prints, and ``--plan`` reads."""

    cells: tuple[ListedCell, ...]
    """In the order in which they will run."""
    excluded: tuple[Excluded, ...] = ()
    resolved: tuple[Resolved, ...] = ()
    """Values that are neither paths nor exact already have to mean the same on each machine that
    runs a part of the matrix."""
    environments: tuple[Environment, ...] = ()
    """Those that could be resolved."""
