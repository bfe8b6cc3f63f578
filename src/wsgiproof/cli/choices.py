"""Options and arguments whose values are a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from wsgiproof.errors import did_you_mean

_FEW = 9
"""Choices that a message lists; of more, it names the nearest."""
LISTED = " lists them all."
"""The end of a message that names a command with every choice."""


class Choices(click.Choice[str]):
    """Values to choose from. The message about another value names the nearest, or a few."""

    def __init__(self, values: Sequence[str], *, listed_by: str = "") -> None:
        """``listed_by`` is a command that lists the values, where they are many."""
        super().__init__([str(value) for value in values])
        self._listed_by = listed_by

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Say what is wrong, and what may have been meant."""
        near = did_you_mean(str(value), self.choices)
        if len(self.choices) <= _FEW:
            return f"'{value}' is not one of {', '.join(self.choices)}{near}"
        return f"'{value}' does not exist{near or '.'} '{self._listed_by}'{LISTED}"
