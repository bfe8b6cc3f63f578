"""The page and the plot of what ``sensitivity.py`` has measured."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
import msgspec
from matplotlib import pyplot as plt

from wsgiproof.judge.verdict import Judgement, checks_of, judge
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, Role
from wsgiproof.records.reading import read_cell
from wsgiproof.records.run import CellRecord
from wsgiproof.subjects.registry import rules_of

mpl.use("svg")

LIMIT = 1024
"""Descriptors that a process may have by default, which is what the recipe runs out of."""
_TAKE_DESCRIPTORS = {"connections", "descriptors"}
_CHECKS = {"connection": "connections", "descriptor": "descriptors", "thread": "threads"}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case over all of its runs."""

    name: str
    every: int | None
    """Requests for one leaked unit, as planted; None for a clean case."""
    runs: int
    caught: int
    """Runs that failed, by the check meant for the leak, or by any for a clean case."""
    passed: int
    others: tuple[str, ...]
    """Why those that neither passed nor were caught by the check meant for them did not pass."""
    budget: int
    """Requests past the warm-up that a run may take."""
    detected_at: float | None
    """Requests past the warm-up after which half of the runs that caught it could tell."""
    exhausted_at: float | None
    """Requests past the warm-up until a process would have had no descriptor left."""


def rows(directory: Path) -> list[Row]:
    """Every case that was recorded in ``directory``, judged by the judge of today."""
    records: defaultdict[str, list[CellRecord]] = defaultdict(list)
    for path in sorted(directory.glob("*.json")):
        records[path.name.rsplit(".", 2)[0]].append(read_cell(path))
    return [_row(name, cells) for name, cells in sorted(records.items())]


def _row(name: str, cells: Sequence[CellRecord]) -> Row:
    seen = [(cell, cell.observed) for cell in cells if cell.observed is not None]
    leak = re.match(r"leak-(\w+)-(\d+)", name)
    check = _CHECKS.get(leak[1], "memory") if leak else ""
    every = int(leak[2]) if leak else None
    verdicts = [_verdict(cell, observed, check) for cell, observed in seen]
    caught = [one for one, verdict in zip(seen, verdicts, strict=True) if verdict is Verdict.FAIL]
    plan = seen[0][1].plan
    return Row(
        name=name,
        every=every,
        runs=len(cells),
        caught=len(caught),
        passed=verdicts.count(Verdict.PASS),
        others=tuple(
            f"{verdict}: {_judge(cell, observed).reason}"
            for (cell, observed), verdict in zip(seen, verdicts, strict=True)
            if verdict is not Verdict.PASS and (verdict is not Verdict.FAIL or not check)
        ),
        budget=plan.parallel + plan.serial,
        detected_at=median(_detected_at(*one, check) for one in caught) if caught else None,
        exhausted_at=every * (LIMIT - median(_descriptors(one) for _, one in seen))
        if every and check in _TAKE_DESCRIPTORS
        else None,
    )


def _verdict(cell: CellRecord, observed: Observed, check: str) -> Verdict:
    """Of this check; of the whole cell where none is named."""
    if not check:
        return _judge(cell, observed).verdict
    checks = checks_of(observed.plan, rules_of(cell.cell))
    return checks[check](cell.cell, observed).result(check).verdict


def _judge(cell: CellRecord, observed: Observed) -> Judgement:
    """Judge again, except for the check ``environment`` if it passed when the cell was recorded.

    Interpreters describe themselves in more detail today than in some of the records.
    """
    recorded = {one.check: one.verdict for one in cell.checks}
    passed = recorded.get("environment") is Verdict.PASS
    rules = rules_of(cell.cell)
    checks = checks_of(observed.plan, rules)
    if passed:
        del checks["environment"]
    return judge(cell.cell, observed, rules, checks)


def _detected_at(cell: CellRecord, observed: Observed, check: str) -> int:
    """The fewest requests of this run after which the judge says so, and goes on saying so."""
    points = observed.samples
    for taken in range(len(points), 1, -1):
        part = msgspec.structs.replace(observed, samples=points[: taken - 1])
        if _verdict(cell, part, check) is not Verdict.FAIL:
            return points[taken - 1].requests - points[0].requests
    return 0


def _descriptors(observed: Observed) -> int:
    return max(
        reading.descriptors or 0
        for reading in observed.samples[0].processes
        if reading.role is Role.WORKER
    )


def write(directory: Path, page: Path) -> None:
    """Write the page, and its plot beside it."""
    measured = rows(directory)
    plot = page.with_suffix(".svg")
    _draw(measured, plot)
    page.write_text(_page(measured, plot.name))


def _page(measured: Sequence[Row], plot: str) -> str:
    leaks = sorted(
        (row for row in measured if row.every), key=lambda row: (row.every or 0, row.name)
    )
    clean = [row for row in measured if not row.every]
    return "\n".join(
        [
            "# Sensitivity",
            "",
            "How small a leak wsgiproof detects, after how many requests, and how often it reports "
            "a leak where there is none. `benchmarks/sensitivity.py report` writes this page from "
            "cells in real Apache with a real mongod, mod_wsgi 5.0.2 and PyMongo 4.20.0.",
            "",
            "- *Requests to detection* count from the warm-up until the judge reports the leak and "
            "keeps reporting it: the median of the runs that caught it.",
            "- *The recipe* is PyMongo's own `test/mod_wsgi_test`. It notices a leak when a "
            f"process has used up its {LIMIT:,} descriptors. Its number of requests is computed "
            "from the rate and from the descriptors that were open at first.",
            "- An *irregular* leak happens at random; the others happen at each n-th request of an "
            "interpreter.",
            "- Crashes that come only at some ends of a process have [a page of their "
            "own](process-ends.md).",
            "",
            f"![Requests to detection against leak rate]({plot})",
            "",
            "## Leaks",
            "",
            "| planted | one in | budget | caught | requests to detection | the recipe |",
            "|---|---:|---:|---:|---:|---:|",
            *map(_leak_line, leaks),
            "",
            "## False alarms",
            "",
            "Cells in which nothing was planted. The crashes among them are real: the process died "
            "([findings](findings.md), 1).",
            "",
            "| cells | runs | passed | failed | the rest |",
            "|---|---:|---:|---:|---|",
            *map(_clean_line, clean),
            "",
        ]
    )


def _leak_line(row: Row) -> str:
    return (
        f"| {row.name} | {row.every:,} | {row.budget:,} | {row.caught} of {row.runs} | "
        f"{_number(row.detected_at)} | {_number(row.exhausted_at)} |"
    )


def _clean_line(row: Row) -> str:
    rest = "; ".join(row.others)
    return f"| {row.name} | {row.runs} | {row.passed} | {row.caught} | {rest} |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _draw(measured: Sequence[Row], path: Path) -> None:
    mpl.rcParams["svg.hashsalt"] = "wsgiproof"  # the same picture from the same data
    figure, axes = plt.subplots(figsize=(7, 4.5))
    shown = [row for row in measured if row.every and row.detected_at and row.exhausted_at]
    axes.scatter(
        [row.every for row in shown], [row.detected_at for row in shown], label="wsgiproof"
    )
    axes.scatter(
        [row.every for row in shown],
        [row.exhausted_at for row in shown],
        marker="x",
        label=f"the recipe: {LIMIT:,} descriptors used up",
    )
    for budget in (3_000, 50_000):
        axes.axhline(budget, color="grey", linewidth=0.7, linestyle=":")
        axes.annotate(f"{budget:,} requests", (1, budget), va="bottom", color="grey", fontsize=8)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="one leaked unit in so many requests",
        ylabel="requests to detection",
    )
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
