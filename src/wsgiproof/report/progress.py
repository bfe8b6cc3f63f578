"""The progress of a run: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from wsgiproof.records.cell import Cell
from wsgiproof.records.run import CellRecord
from wsgiproof.report.cells_table import STYLES
from wsgiproof.report.text import printable

_LEAST_TO_SHOW_ALL = 120
"""Columns, below which an id gives way to the bar and the times."""


class RunProgress:
    """Records the progress of a run; the two classes below show it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.records: list[CellRecord] = []
        self.output: Path | None = None
        self.numbers: dict[str, int] = {}
        self.several = False

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _open(self) -> None:
        """Start to show progress; plain lines need no start."""

    def _close(self) -> None:
        """Stop to show progress, also after an error."""

    def begin(self, cells: Sequence[Cell], output: Path, slots: int) -> None:
        """Start a run of these cells, ``slots`` at a time, with their records in ``output``."""
        self.numbers = {cell.id: number for number, cell in enumerate(cells, 1)}
        self.output = output
        self.several = slots > 1

    def cell_finished(self, record: CellRecord) -> None:
        """Record the verdict of a cell."""
        self.records.append(record)

    def title(self, cell: Cell) -> str:
        """Return the id of a cell with its number, counted from 1."""
        return f"[{self.numbers[cell.id]}/{len(self.numbers)}] {cell.id}"


class PlainProgress(RunProgress):
    """A line when a cell starts, for each step and phase, and when it ends.

    If several cells run at a time, a line when each ends: the others would be mixed up.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._phases: dict[str, str] = {}
        self._started: dict[str, float] = {}

    def cell_started(self, cell: Cell) -> None:
        """Show that a cell has begun."""
        self._started[cell.id] = time.monotonic()
        if not self.several:
            self._say(self.title(cell))

    def step(self, cell: Cell, text: str) -> None:
        """Show that a step has begun; it may take minutes."""
        if not self.several:
            self._say(f"  {self._elapsed(cell)} {text}")

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Show that a phase has begun, the first time that it is reported."""
        if phase != self._phases.get(cell.id):
            self._phases[cell.id] = phase
            self.step(cell, phase)

    def cell_finished(self, record: CellRecord) -> None:
        """Record the verdict of a cell."""
        super().cell_finished(record)
        result = f"{self._elapsed(record.cell)} {record.verdict}: {printable(record.reason)}"
        self._say(f"{self.title(record.cell)} {result}" if self.several else f"  {result}")

    def _elapsed(self, cell: Cell) -> str:
        return f"{time.monotonic() - self._started[cell.id]:5.1f} s"

    def _say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)


class LiveProgress(RunProgress):
    """A bar for all cells, one for each running cell, and a line for each finished one."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = Progress(
            SpinnerColumn(),
            # A narrow terminal cuts the end of it: the phase comes before the cell.
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            expand=console.width < _LEAST_TO_SHOW_ALL,
        )
        self._whole = self._bars.add_task("checking this machine", total=None)
        self._tasks: dict[str, TaskID] = {}

    def _open(self) -> None:
        self._bars.start()

    def _close(self) -> None:
        self._bars.stop()

    def begin(self, cells: Sequence[Cell], output: Path, slots: int) -> None:
        """Start a run of these cells, ``slots`` at a time, with their records in ``output``."""
        super().begin(cells, output, slots)
        self._bars.update(self._whole, description="cells", completed=0, total=len(cells))

    def cell_started(self, cell: Cell) -> None:
        """Show that a cell has begun."""
        self._tasks[cell.id] = self._bars.add_task(self.title(cell), total=None)

    def _description(self, cell: Cell, text: str) -> str:
        number, _, name = self.title(cell).partition(" ")
        return f"{number} {text}: {name}"

    def step(self, cell: Cell, text: str) -> None:
        """Show that a step has begun; it may take minutes."""
        description = self._description(cell, text)
        self._bars.update(self._tasks[cell.id], description=description, total=None)

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """Show how much of a phase is done."""
        description = self._description(cell, phase)
        task = self._tasks[cell.id]
        self._bars.update(task, description=description, completed=done, total=total)

    def cell_finished(self, record: CellRecord) -> None:
        """Record the verdict of a cell."""
        super().cell_finished(record)
        self._bars.remove_task(self._tasks.pop(record.cell.id))
        self._bars.advance(self._whole)
        verdict = (f"{record.verdict:12} ", STYLES[record.verdict])
        self._bars.print(Text.assemble(verdict, record.cell.id))
