"""Builds in the terminal: their progress, their results, and the entries of the cache."""

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

from wsgiproof.provision.toolchain import Built, Entry, State

_STYLES = {State.BUILT: "green", State.UNFINISHED: "yellow", State.DAMAGED: "bold red"}


class _Live:
    """Progress bars that last as long as the context; shown on a terminal only."""

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
    """A bar for each build on a terminal; elsewhere a line at its begin and one at its end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, BarColumn(bar_width=24))
        self._tasks: dict[str, TaskID] = {}

    def begin(self, titles: Iterable[str]) -> None:
        """Add a bar for each build."""
        for title in titles:
            self._tasks[title] = self._bars.add_task(title, start=False, total=None)

    def started(self, title: str) -> None:
        """Show that a build has begun."""
        if title in self._tasks:
            self._bars.start_task(self._tasks[title])
        if not self._console.is_terminal:
            self._say(Text(f"building {title}"))

    def finished(self, built: Built) -> None:
        """Show that a build is done, or has failed."""
        # Two Pythons of the same version have the same title.
        if (task := self._tasks.pop(built.title, None)) is not None:
            self._bars.remove_task(task)
        if not built.cached or built.problem:
            self._say(_result(built))

    def _say(self, line: Text) -> None:
        self._bars.console.print(line, soft_wrap=True)


class StepProgress(_Live):
    """One build: a line for each of its steps, and on a terminal a live line for the last one."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._task = self._bars.add_task("")
        self._began = time.monotonic()
        self._step = ""

    def step(self, text: str) -> None:
        """Show that a step has begun; it may take minutes."""
        self._step = text
        self._bars.update(self._task, description=text)
        elapsed = f"{time.monotonic() - self._began:6.1f} s"
        self._console.print(Text(f"{elapsed} {text}"), soft_wrap=True)

    def count(self, text: str) -> None:
        """Show how much of the step is done, on a terminal only."""
        self._bars.update(self._task, description=f"{self._step}: {text}")


def _result(built: Built) -> Text:
    if built.problem:
        return Text.assemble(("failed  ", "bold red"), f"{built.title}: {built.problem}")
    return Text.assemble(("built   ", "green"), f"{built.title} in {built.seconds:.1f} s")


def show_builds(console: Console, built: Sequence[Built], seconds: float) -> None:
    """Print the result of all builds in one line, with the time that they would take in a row."""
    made = [one for one in built if not one.cached and not one.problem]
    failed = sum(bool(one.problem) for one in built)
    line = f"{len(made)} built, {len(built) - len(made) - failed} in the cache, {failed} failed, "
    line += f"in {seconds:.1f} s"
    if len(made) > 1:
        line += f"; one after the other {sum(one.seconds for one in made):.1f} s"
    console.print(Text(line), soft_wrap=True)


def show_entries(console: Console, entries: Sequence[Entry], root: str) -> None:
    """Print the entries of the cache, and its size."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("kind", "entry", "for", "state"):
        table.add_column(column, overflow="fold")
    for column in ("size", "took", "last used"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in entries:
        if one.kind == "index":
            continue  # there are many small ones
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
    line = f"{_count(entries)} in {root}, {total}"
    line += f"; {answers} of them are answers of the package index" if answers else ""
    console.print(Text(line), soft_wrap=True)


def show_removed(console: Console, removed: Sequence[Entry], kept: int, *, really: bool) -> None:
    """Print what was pruned, or would be."""
    for one in removed:
        console.print(
            Text(f"{one.kind}/{one.name} {decimal(one.bytes)} {_for(one)}"), soft_wrap=True
        )
    verb = "removed" if really else "would be removed"
    total = decimal(sum(one.bytes for one in removed))
    console.print(Text(f"{_count(removed)} {verb}, {total}; {kept} kept"), soft_wrap=True)


def show_verified(console: Console, entries: Sequence[Entry]) -> None:
    """Print the entries that differ from what was built, and the number of those that do not."""
    bad = [one for one in entries if one.state is not State.BUILT]
    for one in bad:
        state = (f"{one.state:11}", _STYLES[one.state])
        console.print(Text.assemble(state, one.path), soft_wrap=True)
    line = f"{len(entries) - len(bad)} of {_count(entries)} unchanged since they were built"
    fix = "; 'wsgiproof cache prune' removes the others, and the next run rebuilds them"
    console.print(Text(line + fix * bool(bad)), soft_wrap=True)


def _count(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"


def _for(entry: Entry) -> str:
    """The interpreter that an entry was built for."""
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
