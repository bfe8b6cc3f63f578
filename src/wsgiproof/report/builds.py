"""Builds in the terminal: how far they have come, what became of them, and what is kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from wsgiproof.toolchain import Built, Entry, State

_STYLES = {State.BUILT: "green", State.UNFINISHED: "yellow", State.DAMAGED: "bold red"}


class _Live:
    """Bars that are there as long as the context is, on a terminal alone."""

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            *columns,
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()


class BuildProgress(_Live):
    """A bar for each build on a terminal; elsewhere a line when it begins and one when it ends."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, BarColumn(bar_width=24))
        self._tasks: dict[str, TaskID] = {}

    def begin(self, titles: Iterable[str]) -> None:
        """These will be built."""
        for title in titles:
            self._tasks[title] = self._bars.add_task(title, start=False, total=None)

    def started(self, title: str) -> None:
        """One of them is next."""
        if title in self._tasks:
            self._bars.start_task(self._tasks[title])
        if not self._console.is_terminal:
            self._say(Text(f"building {title}"))

    def finished(self, built: Built) -> None:
        """One of them is done, or failed."""
        # Two Pythons of one version have the same titles.
        if (task := self._tasks.pop(built.title, None)) is not None:
            self._bars.remove_task(task)
        if not built.cached or built.problem:
            self._say(_told(built))

    def _say(self, line: Text) -> None:
        self._bars.console.print(line, soft_wrap=True)


class StepProgress(_Live):
    """One build: a line for each of its steps; on a terminal a live one for that at hand, too."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._task = self._bars.add_task("")
        self._began = time.monotonic()
        self._step = ""

    def step(self, text: str) -> None:
        """Something begins that takes seconds, or minutes."""
        self._step = text
        self._bars.update(self._task, description=text)
        elapsed = f"{time.monotonic() - self._began:6.1f} s"
        self._console.print(Text(f"{elapsed} {text}"), soft_wrap=True)

    def count(self, text: str) -> None:
        """So much of the step is done; shown where a line can change."""
        self._bars.update(self._task, description=f"{self._step}: {text}")


def _told(built: Built) -> Text:
    if built.problem:
        return Text.assemble(("failed  ", "bold red"), f"{built.title}: {built.problem}")
    return Text.assemble(("built   ", "green"), f"{built.title} in {built.seconds:.1f} s")


def show_builds(console: Console, built: Sequence[Built], seconds: float) -> None:
    """What came of all builds, in one line; the time is compared with one after the other."""
    made = [one for one in built if not one.cached and not one.problem]
    failed = sum(bool(one.problem) for one in built)
    told = f"{len(made)} built, {len(built) - len(made) - failed} were there, {failed} failed, "
    told += f"in {seconds:.1f} s"
    if len(made) > 1:
        told += f"; one after the other {sum(one.seconds for one in made):.1f} s"
    console.print(Text(told), soft_wrap=True)


def show_entries(console: Console, entries: Sequence[Entry], root: str) -> None:
    """What the cache holds, and its size."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("kind", "entry", "for", "state"):
        table.add_column(column, overflow="fold")
    for column in ("size", "took", "last used"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in entries:
        if one.kind == "index":
            continue  # many, and tiny
        table.add_row(
            Text(one.kind),
            Text(one.name),
            Text(_for(one)),
            Text(one.state, style=_STYLES[one.state]),
            decimal(one.bytes),
            "" if one.seconds is None else f"{one.seconds:.1f} s",
            _age(one.used),
        )
    if entries:
        console.print(table)
    total = decimal(sum(one.bytes for one in entries))
    answers = sum(one.kind == "index" for one in entries)
    told = f"{_count(entries)} in {root}, {total}"
    told += f"; {answers} of them are answers of the package index" if answers else ""
    console.print(Text(told), soft_wrap=True)


def show_removed(console: Console, removed: Sequence[Entry], kept: int, *, really: bool) -> None:
    """What was pruned, or would be."""
    for one in removed:
        console.print(
            Text(f"{one.kind}/{one.name} {decimal(one.bytes)} {_for(one)}"), soft_wrap=True
        )
    verb = "removed" if really else "would be removed"
    total = decimal(sum(one.bytes for one in removed))
    console.print(Text(f"{_count(removed)} {verb}, {total}; {kept} kept"), soft_wrap=True)


def show_verified(console: Console, entries: Sequence[Entry]) -> None:
    """What is not as it was built, and how much is."""
    bad = [one for one in entries if one.state is not State.BUILT]
    for one in bad:
        line = Text.assemble((f"{one.state:11}", _STYLES[one.state]), one.path)
        console.print(line, soft_wrap=True)
    told = f"{len(entries) - len(bad)} of {_count(entries)} as built"
    mend = ": 'wsgiproof cache prune' removes the others, and they are built again" if bad else ""
    console.print(Text(told + mend), soft_wrap=True)


def _count(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"


def _for(entry: Entry) -> str:
    """The interpreter that it was built for."""
    python = entry.key.get("python", "")
    free_threaded = entry.key.get("free-threaded") == "True"
    return f"Python {python}{'t' * free_threaded}, {entry.key.get('interpreter')}" if python else ""


def _age(used: float) -> str:
    days = (time.time() - used) / 86400
    if days < 1:
        return "today" if days * 24 < 12 else "a day ago"
    if days < 60:
        return f"{days:.0f} d ago"
    return datetime.fromtimestamp(used, UTC).strftime("%Y-%m-%d")
