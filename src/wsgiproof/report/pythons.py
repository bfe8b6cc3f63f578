"""The Python interpreters of this machine, in the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsgiproof.provision.toolchain import FoundPython, Python
from wsgiproof.report.text import printable

_LOG_WIDTH = 1000


def show_pythons(console: Console, found: Sequence[FoundPython]) -> None:
    """Print a line for each interpreter, in the order of preference."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("version", "from", "shared", "headers", "GIL"):
        table.add_column(name, no_wrap=True)
    table.add_column("usable", overflow="fold")
    table.add_column("path", overflow="fold")
    for one in found:
        usable = Text(printable(one.problem) or "yes", style="yellow" if one.problem else "green")
        table.add_row(*_columns(one), usable, Text(printable(one.path)))
    # A log never folds a path.
    width = None if console.is_terminal else _LOG_WIDTH
    shown = table if found else Text("There is no Python on this machine.")
    console.print(shown, width=width, crop=False)


def as_rows(found: Sequence[FoundPython]) -> list[dict[str, Any]]:
    """Return each interpreter as it describes itself, or null, with ``usable`` and ``problem``."""
    return [
        {
            "version": one.python and one.python.version,
            "path": one.path,
            "from": one.origin,
            "shared_library": one.python and one.python.shared,
            "headers": one.python and one.python.headers,
            "free_threaded": one.python and one.python.free_threaded,
            "usable": not one.problem,
            "problem": one.problem,
        }
        for one in found
    ]


def _columns(found: FoundPython) -> list[Text]:
    python = found.python
    if python is None:
        return [Text("?"), Text(found.origin), Text("?"), Text("?"), Text("?")]
    return [
        Text(printable(python.version) + "t" * python.free_threaded),
        Text(found.origin),
        Text("yes" if python.shared else "no"),
        Text("yes" if python.headers else "no"),
        Text("no" if python.free_threaded else "yes"),
    ]


def show_python(console: Console, python: Python, version: str, missing: Mapping[str, str]) -> None:
    """Print where a built Python is, what it lacks, and how to use it."""
    for module, package in missing.items():
        warning = f"without {module}: on Debian 'apt-get install {package}', then build it again"
        console.print(Text.assemble(("warning ", "yellow"), warning), soft_wrap=True)
    console.print(Text(f"Python {version} is built: {python.path}"), soft_wrap=True)
    console.print(Text(f"wsgiproof run --python {version}", style="cyan"), soft_wrap=True)
