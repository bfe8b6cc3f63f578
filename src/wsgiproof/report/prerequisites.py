"""The doctor's list in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from wsgiproof.records.machine import Prerequisite


def show_prerequisites(console: Console, prerequisites: Sequence[Prerequisite]) -> None:
    """Print a line for each prerequisite: what was found, or the problem and its fix."""
    for one in prerequisites:
        mark = ("missing ", "bold red") if one.problem else ("ok      ", "green")
        line = Text.assemble(mark, (f"{one.name:9}", "bold"), one.problem or one.found)
        console.print(line, soft_wrap=True)
