"""The page and the plot of what ``sensitivity.py`` has measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
import msgspec
from matplotlib import pyplot as plt
from stated_bound import stated_bound

from wsgiproof.judge.verdict import checks_of, judge
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, Role, Sample
from wsgiproof.records.reading import read_cell
from wsgiproof.records.run import CellRecord
from wsgiproof.subjects.registry import rules_of

mpl.use("svg")

LIMIT = 1024
"""Descriptors that a process may have by default, which is what the recipe runs out of."""
_TAKE_DESCRIPTORS = {"connections", "descriptors"}
_SAMPLED = ("samples", "full_pools", "drained", "settled")
"""What is observed of the load, one sample after the other."""


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    """A leak, and the check that it has to trip."""

    check: str
    every: int
    """Requests for one leaked unit."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case over all of its runs."""

    name: str
    planted: Planted | None
    runs: int
    caught: int
    """Runs that failed, by the check meant for the leak, or by any for a clean case."""
    passed: int
    wrong: int
    """Runs that passed and stated a bound that excludes the planted leak."""
    others: tuple[str, ...]
    """Of a clean case: why runs did not pass."""
    requests: int
    """Requests past the warm-up: the median of all runs."""
    detected_at: float | None
    """Requests past the warm-up after which half of the runs that caught it could tell."""
    exhausted_at: float | None
    """Requests past the warm-up until a process would have had no descriptor left."""


def rows(directory: Path, leaks: Mapping[str, Planted]) -> list[Row]:
    """Every case that was recorded in ``directory``, judged by the judge of today."""
    records: defaultdict[str, list[CellRecord]] = defaultdict(list)
    for path in sorted(directory.glob("*.json")):
        records[path.name.rsplit(".", 2)[0]].append(read_cell(path))
    return [_row(name, leaks.get(name), cells) for name, cells in sorted(records.items())]


def _row(name: str, planted: Planted | None, cells: Sequence[CellRecord]) -> Row:
    seen = [(cell, cell.observed) for cell in cells if cell.observed is not None]
    observed = [one for _, one in seen]
    check = planted.check if planted else ""
    results = [_result(cell, one, check) for cell, one in seen]
    verdicts = [verdict for verdict, _ in results]
    caught = [one for one, verdict in zip(seen, verdicts, strict=True) if verdict is Verdict.FAIL]
    return Row(
        name=name,
        planted=planted,
        runs=len(cells),
        caught=len(caught),
        passed=verdicts.count(Verdict.PASS),
        wrong=sum(
            verdict is Verdict.PASS and stated_bound(reason) >= planted.every
            for verdict, reason in results
        )
        if planted
        else 0,
        others=tuple(
            f"{verdict}: {reason}"
            for verdict, reason in results
            if verdict is not Verdict.PASS and not check
        ),
        requests=round(median(times[-1] - times[0] for times in map(_times, observed))),
        detected_at=median(_detected_at(*one, check) for one in caught) if caught else None,
        exhausted_at=planted.every * (LIMIT - median(map(_descriptors, observed)))
        if planted and check in _TAKE_DESCRIPTORS
        else None,
    )


def _times(observed: Observed) -> list[int]:
    """The numbers of requests after which samples were taken, in order."""
    return sorted(
        {sample.requests for samples in _samples(observed).values() for sample in samples}
    )


def _samples(observed: Observed) -> dict[str, tuple[Sample, ...]]:
    return {field: getattr(observed, field) for field in _SAMPLED}


def _result(cell: CellRecord, observed: Observed, check: str) -> tuple[Verdict, str]:
    """The verdict of this check and its reason.

    Where no check is named, it is that of the whole cell, with the ids of what explains it.
    """
    if not check:
        judgement = judge(cell.cell, observed, rules_of(cell.cell))
        explained = {one.id: None for found in judgement.findings for one in found.explained}
        return judgement.verdict, ", ".join((judgement.reason, *explained))
    checks = checks_of(observed.plan, rules_of(cell.cell))
    result = checks[check](cell.cell, observed).result(check)
    return result.verdict, result.reason


def _detected_at(cell: CellRecord, observed: Observed, check: str) -> int:
    """The fewest requests of this run after which the judge says so, and goes on saying so."""
    *times, detected = _times(observed)
    for requests in reversed(times):
        if _result(cell, _until(observed, requests), check)[0] is not Verdict.FAIL:
            break
        detected = requests
    return detected - observed.samples[0].requests


def _until(observed: Observed, requests: int) -> Observed:
    """What had been observed after so many requests, in the middle of the load."""
    samples = {
        field: tuple(one for one in taken if one.requests <= requests)
        for field, taken in _samples(observed).items()
    }
    return msgspec.structs.replace(observed, **samples, confirmations=(), cache_trials=())


def _descriptors(observed: Observed) -> int:
    return max(
        reading.descriptors or 0
        for reading in observed.samples[0].processes
        if reading.role is Role.WORKER
    )


def write(directory: Path, page: Path, leaks: Mapping[str, Planted]) -> None:
    """Write the page, and its plot beside it; ``leaks`` are those that may have been planted."""
    measured = rows(directory, leaks)
    plot = page.with_suffix(".svg")
    _draw(measured, plot)
    page.write_text(_page(measured, plot.name))


def _page(measured: Sequence[Row], plot: str) -> str:
    leaks = sorted((row for row in measured if row.planted), key=_rate)
    clean = [row for row in measured if not row.planted]
    return "\n".join(
        [
            "# Sensitivity",
            "",
            "This page says how small a leak wsgiproof detects, how many requests it needs to "
            "detect one, and how often it reports a leak where there is none. "
            "`benchmarks/sensitivity.py report` wrote it from "
            f"{sum(row.runs for row in measured):,} cells in real Apache with a real mongod, "
            "mod_wsgi 5.0.2 and PyMongo 4.20.0.",
            "",
            "- *Requests to detection* count from the warm-up until the judge reports the leak and "
            "keeps reporting it: the median of the runs that caught it.",
            "- *The recipe* is PyMongo's own `test/mod_wsgi_test`. It notices a leak when a "
            f"process has used up its {LIMIT:,} descriptors. Its number of requests is computed "
            "from the rate and from the descriptors that were open at first.",
            "- An *irregular* leak happens at random; the others happen at each n-th request of an "
            "interpreter.",
            "- *Untrue* are passes that state a bound which excludes the planted leak. A bound is "
            "stated with 95 % confidence, so one in twenty may be.",
            "- Crashes that come only at some ends of a process have [a page of their "
            "own](process-ends.md).",
            "",
            f"![Requests to detection against leak rate]({plot})",
            "",
            "## Leaks",
            "",
            "| planted | check | one in | requests | caught | untrue | to detection | the recipe |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
            *map(_leak_line, leaks),
            "",
            "## False alarms",
            "",
            "Cells in which nothing was planted. Crashes that are explained as "
            "`pymongo-thread-outlives-interpreter` are real ([findings](findings.md), 1).",
            "",
            "| cells | runs | passed | failed | the rest |",
            "|---|---:|---:|---:|---|",
            *map(_clean_line, clean),
            "",
        ]
    )


def _rate(row: Row) -> tuple[int, str]:
    return row.planted.every if row.planted else 0, row.name


def _leak_line(row: Row) -> str:
    assert row.planted
    return (
        f"| {row.name} | {row.planted.check} | {row.planted.every:,} | {row.requests:,} | "
        f"{row.caught} of {row.runs} | {row.wrong} | {_number(row.detected_at)} | "
        f"{_number(row.exhausted_at)} |"
    )


def _clean_line(row: Row) -> str:
    rest = "; ".join(row.others)
    return f"| {row.name} | {row.runs} | {row.passed} | {row.caught} | {rest} |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _draw(measured: Sequence[Row], path: Path) -> None:
    mpl.rcParams["svg.hashsalt"] = "wsgiproof"  # the same picture from the same data
    figure, axes = plt.subplots(figsize=(7, 4.5))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="one leaked unit in so many requests",
        ylabel="requests to detection",
    )
    shown = [
        (row.planted.every, row.detected_at, row.exhausted_at)
        for row in measured
        if row.planted and row.detected_at and row.exhausted_at
    ]
    rates = [rate for rate, _, _ in shown]
    axes.scatter(rates, [detected for _, detected, _ in shown], label="wsgiproof")
    axes.scatter(
        rates,
        [exhausted for _, _, exhausted in shown],
        marker="x",
        label=f"the recipe: {LIMIT:,} descriptors used up",
    )
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
