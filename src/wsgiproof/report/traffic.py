"""The results and the progress of the load client, on a terminal and in a log."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from wsgiproof.records.traffic import PERCENTILES, Latencies, Throughput, Traffic, merged
from wsgiproof.report.text import one_line

_LIVE_STEP = 0.25
_PLAIN_STEP = 5.0
"""Seconds between two lines in a log."""
_BAR = 40
"""Characters of the longest bar."""
_ROWS = 12
"""Bars of a histogram, at most."""
_MOST_INTERPRETERS = 20


class Counts(Protocol):
    """The numbers that the progress shows."""

    requests: int
    failed: int


@contextmanager
def watching(console: Console, counts: Counts, planned: int | None) -> Iterator[None]:
    """Show how the counts grow, from a separate thread, until the context ends."""
    over = threading.Event()
    watch = _watch_live if console.is_terminal else _watch_plain
    thread = threading.Thread(target=watch, args=(console, counts, planned, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch_live(console: Console, counts: Counts, total: int | None, over: threading.Event) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    with bars:
        task = bars.add_task("requests", total=total)
        while not over.wait(_LIVE_STEP):
            what = f"requests, {counts.failed:,} failed" if counts.failed else "requests"
            bars.update(task, completed=counts.requests, description=what)


def _watch_plain(
    console: Console, counts: Counts, total: int | None, over: threading.Event
) -> None:
    of = "" if total is None else f" of {total:,}"
    while not over.wait(_PLAIN_STEP):
        _say(console, f"{counts.requests:,}{of} requests, {counts.failed:,} failed")


def show_traffic(console: Console, traffic: Traffic, *, interrupted: bool) -> None:
    """Print the summary of a load: first the failures, then the latencies."""
    _show_failures(console, traffic)
    if len(traffic.latencies):
        _show_latencies(console, traffic.latencies, "URL")
    if traffic.interpreters:
        _show_latencies(console, traffic.interpreters[:_MOST_INTERPRETERS], "interpreter")
        more = len(traffic.interpreters) - _MOST_INTERPRETERS
        if more > 0:
            _say(console, f"and {more:,} more interpreters; --json has them")
    if traffic.latencies:
        _show_histogram(console, merged(traffic.latencies, "all"))
    _show_throughput(console, traffic.throughput, traffic.seconds)
    _show_totals(console, traffic, interrupted=interrupted)


def _show_failures(console: Console, traffic: Traffic) -> None:
    for one in traffic.first_failures:
        _say(console, f"FAILED ({one.kind}) {one_line(one.url)}: {one_line(one.error)}")
        if one.body:
            status = "no status" if one.status is None else f"status {one.status}"
            _say(console, f"  {status}, the body begins: {one_line(one.body)}")
    if traffic.failed > len(traffic.first_failures):
        _say(console, f"and {traffic.failed - len(traffic.first_failures):,} more failures")


def _show_latencies(console: Console, latencies: Sequence[Latencies], what: str) -> None:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column(what, overflow="fold")
    names = ["requests", *(f"p{percent:g} ms" for percent in PERCENTILES), "max ms"]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for one in latencies:
        shown = [_ms(one.percentile(percent)) for percent in PERCENTILES]
        table.add_row(Text(_name(one)), f"{one.count:,}", *shown, _ms(one.longest / 1e6))
    console.print(table)
    console.print()


def _name(one: Latencies) -> str:
    who = "" if one.pid is None else f", process {one.pid}, {one_line(one.interpreter)}"
    return one_line(one.url) + who


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}"


def _show_histogram(console: Console, all_of_them: Latencies) -> None:
    """Print a bar for each doubling of the latency."""
    rows: dict[int, int] = {}
    for lower, count in all_of_them.buckets.items():
        rows[lower.bit_length()] = rows.get(lower.bit_length(), 0) + count
    bits = range(max(min(rows), max(rows) - _ROWS + 1), max(rows) + 1)
    faster = sum(count for bit, count in rows.items() if bit < bits[0])
    counts = [rows.get(bit, 0) + (faster if bit == bits[0] else 0) for bit in bits]
    for bit, count in zip(bits, counts, strict=True):
        _say(console, f"< {_ms((1 << bit) / 1e6):>9} ms {_bar(count, max(counts))} {count:,}")
    console.print()


def _show_throughput(console: Console, throughput: Throughput, seconds: float) -> None:
    """Print a bar for each span of time, if there are several; all fit on a screen."""
    counts, failed, width = list(throughput.requests), list(throughput.failed), throughput.width
    while len(counts) > 2 * _ROWS:
        counts = [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]
        failed = [sum(failed[at : at + 2]) for at in range(0, len(failed), 2)]
        width *= 2
    if len(counts) < 2:
        return
    for number, (count, bad) in enumerate(zip(counts, failed, strict=True)):
        failures = f", {bad:,} failed" if bad else ""
        _say(
            console,
            f"{number * width:>7,} s {_bar(count, max(counts))} {count / width:,.0f}/s{failures}",
        )
    console.print()


def _bar(count: int, most: int) -> str:
    return "#" * math.ceil(count * _BAR / max(most, 1))


def _show_totals(console: Console, traffic: Traffic, *, interrupted: bool) -> None:
    rate = traffic.requests / traffic.seconds if traffic.seconds else 0.0
    how = "Interrupted after" if interrupted else "Completed in"
    numbers = f"{traffic.requests:,} requests, {rate:,.0f}/s, seed {traffic.seed}"
    _say(console, f"{how} {traffic.seconds:.2f} seconds: {numbers}")
    if traffic.resent:
        _say(console, f"{traffic.resent:,} sent again: the server had closed a kept connection")
    if traffic.unclosed:
        problem = "the server did not close the connection when asked to"
        _say(console, f"{traffic.unclosed:,} were answered, but {problem}")
    if traffic.unsent:
        _say(console, f"{traffic.unsent:,} were due and not sent: all connections were busy")
    if traffic.failed:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in traffic.kinds.items())
        _say(console, f"{traffic.failed:,} failed: {kinds}")


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
