"""How far a run has come: a live line on a terminal, plain lines elsewhere."""

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
from rich.text import Text

from wsgiproof.cell import Cell
from wsgiproof.records import CellRecord
from wsgiproof.report.cells_table import STYLES
from wsgiproof.report.text import printable


class RunProgress:
    """Keeps account of a run as it goes on; what it shows is up to the two below."""

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
        """Begin to show; nothing to do where lines are printed as they come."""

    def _close(self) -> None:
        """End it, whatever happened."""

    def begin(self, cells: Sequence[Cell], output: Path, slots: int) -> None:
        """These cells will be run, ``slots`` at a time, and their records kept in ``output``."""
        self.numbers = {cell.id: number for number, cell in enumerate(cells, 1)}
        self.output = output
        self.several = slots > 1

    def cell_finished(self, record: CellRecord) -> None:
        """A cell has its verdict."""
        self.records.append(record)

    def title(self, cell: Cell) -> str:
        """The cell and its number, counted from 1."""
        return f"[{self.numbers[cell.id]}/{len(self.numbers)}] {cell.id}"


class PlainProgress(RunProgress):
    """One line when a cell starts, one for each step and phase, one when it ends.

    Of several cells at a time only the last: their steps would be mixed up.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._phases: dict[str, str] = {}
        self._started: dict[str, float] = {}

    def cell_started(self, cell: Cell) -> None:
        """A cell is next."""
        self._started[cell.id] = time.monotonic()
        if not self.several:
            self._say(self.title(cell))

    def step(self, cell: Cell, text: str) -> None:
        """Something begins that takes seconds, or minutes."""
        if not self.several:
            self._say(f"  {self._elapsed(cell)} {text}")

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """So much of a phase is done; its beginning is worth a line."""
        if phase != self._phases.get(cell.id):
            self._phases[cell.id] = phase
            self.step(cell, phase)

    def cell_finished(self, record: CellRecord) -> None:
        """A cell has its verdict."""
        super().cell_finished(record)
        told = f"{self._elapsed(record.cell)} {record.verdict}: {printable(record.reason)}"
        self._say(f"{self.title(record.cell)} {told}" if self.several else f"  {told}")

    def _elapsed(self, cell: Cell) -> str:
        return f"{time.monotonic() - self._started[cell.id]:5.1f} s"

    def _say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)


class LiveProgress(RunProgress):
    """A bar for all cells, one for each cell at hand, and a line for each cell that is done."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
        )
        self._whole = self._bars.add_task("looking at this machine", total=None)
        self._tasks: dict[str, TaskID] = {}

    def _open(self) -> None:
        self._bars.start()

    def _close(self) -> None:
        self._bars.stop()

    def begin(self, cells: Sequence[Cell], output: Path, slots: int) -> None:
        """These cells will be run, ``slots`` at a time, and their records kept in ``output``."""
        super().begin(cells, output, slots)
        self._bars.update(self._whole, description="cells", completed=0, total=len(cells))

    def cell_started(self, cell: Cell) -> None:
        """A cell is next."""
        self._tasks[cell.id] = self._bars.add_task(self.title(cell), total=None)

    def step(self, cell: Cell, text: str) -> None:
        """Something begins that takes seconds, or minutes."""
        description = f"{self.title(cell)}: {text}"
        self._bars.update(self._tasks[cell.id], description=description, total=None)

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """So much of a phase is done."""
        description = f"{self.title(cell)}: {phase}"
        task = self._tasks[cell.id]
        self._bars.update(task, description=description, completed=done, total=total)

    def cell_finished(self, record: CellRecord) -> None:
        """A cell has its verdict."""
        super().cell_finished(record)
        self._bars.remove_task(self._tasks.pop(record.cell.id))
        self._bars.advance(self._whole)
        verdict = (f"{record.verdict:12} ", STYLES[record.verdict])
        self._bars.print(Text.assemble(verdict, record.cell.id))
