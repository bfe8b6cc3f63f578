"""How far a build has come, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from wsgiproof.toolchain import Python


class BuildProgress:
    """On a terminal a live line for the step at hand; a line for each step, and its seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task("")
        self._began = time.monotonic()
        self._step = ""

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

    def step(self, text: str) -> None:
        """Something begins that takes seconds, or minutes."""
        self._step = text
        self._bars.update(self._task, description=text)
        elapsed = f"{time.monotonic() - self._began:6.1f} s"
        self._console.print(Text(f"{elapsed} {text}"), soft_wrap=True)

    def count(self, text: str) -> None:
        """So much of the step is done; shown where a line can change."""
        self._bars.update(self._task, description=f"{self._step}: {text}")


def show_python(console: Console, python: Python, version: str, missing: Mapping[str, str]) -> None:
    """Where it is, what it lacks, and how to use it."""
    for module, package in missing.items():
        warning = f"without {module}: on Debian 'apt-get install {package}', then build it again"
        console.print(Text.assemble(("warning ", "yellow"), warning), soft_wrap=True)
    console.print(Text(f"Python {version} is built: {python.path}"), soft_wrap=True)
    console.print(Text(f"wsgiproof run --python {version}", style="cyan"), soft_wrap=True)
