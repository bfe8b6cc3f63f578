"""A finished run in the terminal, as ``run`` has shown it, with what never came."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from wsgiproof.judge.finding import count
from wsgiproof.records import RunRecord
from wsgiproof.report.terminal import printable, show_run


def show_recorded(console: Console, record: RunRecord, exit_code: int, where: str) -> None:
    """Print all that ``run`` prints, the planned cells that never came, and what was excluded."""
    opening = "The run is complete" if record.complete else "The run is not complete"
    show_run(console, record.cells, exit_code, where, opening)
    for line in rest(record):
        console.print(Text(printable(line)), soft_wrap=True)


def rest(record: RunRecord) -> list[str]:
    """What is no cell of the run: planned and never come, or excluded, by reason."""
    reasons = Counter(one.reason for one in record.excluded).most_common()
    return [
        *(f"Planned, and never came: {name}" for name in record.missing),
        *(f"Excluded: {count(number, 'combination')}, {reason}" for reason, number in reasons),
    ]
