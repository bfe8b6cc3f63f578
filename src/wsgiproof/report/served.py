"""A running server in the terminal."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from wsgiproof.judge.finding import count
from wsgiproof.records.machine import RunningServer
from wsgiproof.records.observed import Role
from wsgiproof.report.text import plain

_FEW = 8
"""Pids that are listed one by one."""


def show_served(console: Console, served: RunningServer) -> None:
    """Print where the server answers, its parts, and commands to inspect it."""
    for line in _lines(served):
        console.print(line, soft_wrap=True)


def show_logged(console: Console, line: str) -> None:
    """Print a line of its error log."""
    console.print(Text(plain(line), style="dim"), soft_wrap=True)


def _lines(served: RunningServer) -> Iterator[Text]:
    yield Text.assemble("\n", (served.cell, "bold"), " is up; Ctrl-C stops it\n")
    for url, group in served.urls.items():
        yield _line("url", f"{url}  (application group {group})" if group else url)
    for name, value in served.backend.items():
        yield _line(name, value)
    for role, pids in served.pids.items():
        yield _line(role, _in_words(pids))
    yield _line("config", served.config)
    yield _line("log", served.error_log)
    yield Text("")
    yield _line("ask it", _curl(next(iter(served.urls))))
    if workers := served.pids.get(Role.WORKER):
        yield _line("debug it", f"gdb -p {workers[0]}")
    yield _line("read it", f"tail -f {shlex.quote(served.error_log)}")
    yield Text("")


def _curl(url: str) -> str:
    """Return the command that asks this machine, whose virtual host may have any name."""
    here = re.match(r"http://(127\.|([^/:]+\.)?localhost[:/])", url)
    return shlex.join(["curl", *([] if here else ["--connect-to", "::127.0.0.1:"]), url])


def _in_words(pids: tuple[int, ...]) -> str:
    if len(pids) > _FEW:
        return f"{count(len(pids), 'process', 'processes')}, from pid {pids[0]} to {pids[-1]}"
    return f"pid {', '.join(map(str, pids))}"


def _line(label: str, text: str) -> Text:
    return Text.assemble((f"  {label:9}", "bold"), plain(text))
