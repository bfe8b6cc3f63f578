"""Findings that are known and accepted: a configuration describes them, the judge looks for them.

A cell keeps what applies to it, so that judging its record again comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec


def _doc(text: str) -> msgspec.Meta:
    """Return the description of a key in the JSON schema of a configuration."""
    return msgspec.Meta(description=text)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Findings that are known: they are shown with the reason, and fail nothing.

    A finding is one of them if it is of this check, and has the entry and the signature that are
    given.
    """

    check: Annotated[str, _doc("The check that finds it.")]
    entry: Annotated[str, _doc("The catalog's entry that explains it, as a finding names it.")] = ""
    signature: Annotated[
        str, _doc("A text that it contains, or its evidence, such as the name of a function.")
    ] = ""
    cells: Annotated[tuple[str, ...], _doc("Globs on the ids of cells.")] = ("*",)
    reason: Annotated[str, _doc("Why it is accepted; every report shows it.")]
    link: Annotated[str, _doc("Where it was reported.")] = ""
    until: Annotated[
        Mapping[str, str],
        _doc("Versions by the names of axes: from one of these on, the table no longer applies."),
    ] = {}
    at_most: Annotated[
        float | None, _doc("The highest probability that is known; a higher one fails.")
    ] = None

    @property
    def name(self) -> str:
        """What it is about, in a few words: ``crash, thread-outlives-interpreter``."""
        signature = f"'{self.signature}'" if self.signature else ""
        return ", ".join(filter(None, [self.check, self.entry, signature]))


class KnownState(StrEnum):
    """Whether what is known was found."""

    SEEN = "seen"
    GONE = "gone"
    """It was not found, and there were enough trials to find it."""
    UNDECIDED = "undecided"
    """It was not found, and that may be chance."""


class KnownInCell(msgspec.Struct, frozen=True, kw_only=True):
    """What is known and applies to a cell, and whether it was found there."""

    table: Known
    state: KnownState = KnownState.UNDECIDED


class KnownInRun(msgspec.Struct, frozen=True, kw_only=True):
    """The same of all cells of a run. What is gone is gone from each cell that it applies to."""

    table: Known
    state: KnownState
    applies_to: tuple[str, ...]
    """The ids of these cells."""
    seen_in: tuple[str, ...] = ()
