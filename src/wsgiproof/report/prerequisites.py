"""The doctor's list in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from wsgiproof.records import Prerequisite


def show_prerequisites(console: Console, needs: Sequence[Prerequisite]) -> None:
    """One line for each need: what was found, or what is wrong and what mends it."""
    for need in needs:
        mark = ("missing ", "bold red") if need.problem else ("ok      ", "green")
        line = Text.assemble(mark, (f"{need.name:9}", "bold"), need.problem or need.found)
        console.print(line, soft_wrap=True)
