"""Real runs, clean and faulty, judged again: a change to the judge is tested on all of them.

``scripts/add-to-corpus`` adds cells. What they came to stands in ``tests/corpus/expected.json``.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.factories import CHECKS, RESOURCES, RULES, counting
from tests.unit.test_growth import CLEAN as GOOD
from wsgiproof.judge.growth import LeakStatus
from wsgiproof.judge.leak_load import certain_leak
from wsgiproof.judge.leaks import counted as check_of
from wsgiproof.judge.memory import series_of
from wsgiproof.judge.memory_series import LEAST_POINTS, MemorySeries, judge_memory
from wsgiproof.judge.slope import span
from wsgiproof.judge.verdict import judge
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import Observed, ProcessSample, Role, Sample
from wsgiproof.records.run import CellRecord
from wsgiproof.run.selftest import control_results
from wsgiproof.subjects.registry import known_controls

CONTROLS = known_controls()

CORPUS = Path(__file__).parent.parent / "corpus"
EXPECTED = json.loads((CORPUS / "expected.json").read_text())
NAMES = sorted(EXPECTED)
each_cell = pytest.mark.parametrize("name", NAMES)
NOT_RECORDED = {"files", "database", "latency", "closed-client"}
"""Checks without a recorded cell that they fail: selftest alone has one."""
CLEAN = [name for name in NAMES if EXPECTED[name]["verdict"] == "pass"]


@cache
def recorded(name: str) -> CellRecord:
    packed = (CORPUS / f"{name}.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed), type=CellRecord)


def seen(name: str) -> Observed:
    observed = recorded(name).observed
    assert observed is not None
    return observed


def test_every_cell_is_expected_to_be_something_and_is_there() -> None:
    assert [path.name.removesuffix(".json.gz") for path in sorted(CORPUS.glob("*.gz"))] == NAMES


@each_cell
def test_a_real_run_comes_to_what_it_is(name: str) -> None:
    judgement = judge(recorded(name).cell, seen(name), RULES)
    failing = [one.check for one in judgement.checks if one.verdict is Verdict.FAIL]
    expected = {"verdict": judgement.verdict, "failing": failing}
    assert expected == EXPECTED[name], judgement.findings
    for one in judgement.checks:
        assert not re.search(r"\binf\b|\bnan\b|one in 0 |\bin 0 requests", one.reason), one


@pytest.mark.parametrize(
    "name", [name for name in NAMES if recorded(name).cell.control in CONTROLS]
)
def test_each_planted_fault_is_caught_and_each_negative_control_passes(name: str) -> None:
    record = recorded(name)
    (told,) = control_results(CONTROLS[record.cell.control], record)
    assert told.is_expected, told


@each_cell
def test_a_leak_that_was_called_early_is_one_and_nothing_else_is_called(name: str) -> None:
    observed = seen(name)
    called = certain_leak(RESOURCES, observed.samples, len(observed.urls), *observed.workers)
    failing = set(EXPECTED[name]["failing"])
    assert not called or failing & set(RESOURCES)
    if observed.decided_early:  # with the wording of the version that recorded it
        assert called.partition(",")[0] == observed.decided_early.partition(",")[0]


def test_the_corpus_has_both_kinds_of_every_check_and_both_modes() -> None:
    failing = {check for one in EXPECTED.values() for check in one["failing"]}
    assert failing >= {*CHECKS} - {"first-use", *NOT_RECORDED}
    assert {recorded(name).cell.mode for name in CLEAN} == {"daemon", "embedded"}
    assert len(CLEAN) >= 20


# Invented runs whose noise is that of real ones


BY_SERVER = ("connections", "cursors", "sessions")
BY_PROCESS = ("descriptors", "threads", "connections")
IN_ORDER = {"fill-pool", "fill-cache", "second-client", "recycle"}
"""Negative controls with something that grows early and then stops, which is no leak."""


class Noise(msgspec.Struct, frozen=True):
    """How clean runs go: by how much everything changed from one reading to the next."""

    by_server: dict[str, list[list[int]]]
    """By the name of a count, the changes of one run of the deployment."""
    by_process: dict[str, list[list[int]]]
    """By the field of a reading, those of one process."""
    memory: list[MemorySeries]


@cache
def noise() -> Noise:
    by_server: dict[str, list[list[int]]] = {count: [] for count in BY_SERVER}
    by_process: dict[str, list[list[int]]] = {count: [] for count in BY_PROCESS}
    memory: list[MemorySeries] = []
    for name in CLEAN:
        cell = recorded(name).cell
        # Their rounds depend on one another, or their processes come and go.
        if cell.control in IN_ORDER or cell.own_app or cell.min_processes:
            continue
        observed = seen(name)
        for counts, recorded_counts in (
            (by_server, _of_server(observed)),
            (by_process, _of_processes(observed)),
        ):
            for count, values in recorded_counts:
                if None not in values:
                    counts[count].append([after - before for before, after in pairwise(values)])
        memory += [one for one in series_of(observed) if len(one.points) >= LEAST_POINTS]
    return Noise(by_server, by_process, memory)


def _of_server(observed: Observed) -> Iterator[tuple[str, list[Any]]]:
    """Every count of the deployment after the warm-up of a run, as a list of values."""
    for count in BY_SERVER:
        yield count, [one.counts.get(count) for one in observed.samples]


def _of_processes(observed: Observed) -> Iterator[tuple[str, list[Any]]]:
    """The same for every process."""
    workers = [
        [reading for reading in one.processes if reading.role is Role.WORKER]
        for one in observed.samples
    ]
    for number in range(observed.workers[0]):
        for count in BY_PROCESS:
            yield count, [getattr(readings[number], count) for readings in workers]


AT = [250, 300, 400, *range(525, 3250, 125), 3250, 3250]
"""The samples of a quick run."""


def resampled(
    chance: random.Random,
    runs: Sequence[Sequence[int]],
    besides: Callable[[random.Random], Iterable[float]],
) -> list[int]:
    """A count that changes in each round as it did in that round, or one beside it, of a run.

    What ``besides`` does, which is no leak, comes on top.
    """
    values = [1000]
    for number in range(len(AT) - 1):
        changes = chance.choice(runs)
        place = max(0, min(number + chance.randint(-1, 1), len(changes) - 1))
        values.append(values[-1] + changes[place])
    moments = [AT[0] + moment for moment in besides(chance)]
    return [
        value + sum(moment <= at for moment in moments)
        for value, at in zip(values, AT, strict=True)
    ]


def counted(series: Mapping[str, Sequence[int]], number: int) -> dict[str, Any]:
    """The counts of one sample."""
    return {count: values[number] for count, values in series.items()}


def invented(chance: random.Random) -> Observed:
    """A run of which every count is resampled, with one clean thing on top that all of them do."""
    workers = chance.choice(((1, 15), (1, 15), (4, 1)))
    besides = chance.choice(list(GOOD.values()))
    by_server = {
        count: resampled(chance, runs, besides) for count, runs in noise().by_server.items()
    }
    by_process = [
        {count: resampled(chance, runs, besides) for count, runs in noise().by_process.items()}
        for _ in range(workers[0])
    ]
    rows = tuple(
        Sample(
            phase="parallel",
            time=float(number),
            requests=requests,
            processes=tuple(
                ProcessSample(
                    pid=200 + pid,
                    role=Role.WORKER,
                    **counted(one, number),
                )
                for pid, one in enumerate(by_process)
            ),
            counts={**counted(by_server, number)},
        )
        for number, requests in enumerate(AT)
    )
    return msgspec.structs.replace(seen(CLEAN[0]), samples=rows, workers=workers)


def invented_memory(chance: random.Random) -> MemorySeries:
    """A metric that changes in each round as it did in that round, or one beside it, of a run."""
    real = chance.choice(noise().memory)
    alike = [
        one
        for one in noise().memory
        if one.unit == real.unit and len(one.points) == len(real.points)
    ]
    points = [real.points[0]]
    for number in range(len(real.points) - 1):
        other = chance.choice(alike).points
        place = max(0, min(number + chance.randint(-1, 1), len(other) - 2))
        (earlier, before), (later, after) = other[place], other[place + 1]
        points.append((points[-1][0] + later - earlier, points[-1][1] + after - before))
    return MemorySeries(what=real.what, unit=real.unit, pid=1, points=tuple(points))


def test_10000_series_with_the_noise_of_clean_runs_give_no_false_alarm() -> None:
    chance = random.Random(1)
    cell = recorded(CLEAN[0]).cell
    called: list[str] = []
    judged = 0
    while judged < 5_000:
        observed = invented(chance)
        for resource in RESOURCES.values():
            called += [one.seen for one in check_of(resource)(cell, observed).findings]
        if told := certain_leak(RESOURCES, observed.samples, len(observed.urls), *observed.workers):
            called.append(told)
        judged += len(BY_SERVER) + len(BY_PROCESS) * observed.workers[0]
    passed = 0
    for _ in range(5_000):
        growth = judge_memory([invented_memory(chance)]).status
        called += ["memory"] * (growth is LeakStatus.LEAK)
        passed += growth is LeakStatus.NO_LEAK
    assert called == []
    assert passed >= 3_500


def test_a_leak_on_top_of_that_noise_is_found() -> None:
    """One in 250 requests, of each count of a daemon process."""
    chance = random.Random(2)
    cell = recorded(CLEAN[0]).cell
    found: Counter[str] = Counter()
    for _ in range(100):
        leak = [250.0 * number + chance.uniform(0, 250) for number in range(12)]
        for count, (field, process) in LEAKED.items():
            observed = invented(random.Random(0))
            while observed.workers != (1, 15):
                observed = invented(chance)
            runs = (noise().by_process if process else noise().by_server)[field]
            clean = resampled(chance, runs, lambda chance: ())
            grown = [
                value + sum(250 + moment <= at for moment in leak)
                for value, at in zip(clean, AT, strict=True)
            ]
            rows = [
                _with(row, field, value, process)
                for row, value in zip(observed.samples, grown, strict=True)
            ]
            changed = msgspec.structs.replace(observed, samples=tuple(rows))
            found[count] += bool(check_of(RESOURCES[count])(cell, changed).findings)
    # A deployment forgets old sessions all at once, which hides a few leaked ones.
    assert all(found[count] >= (93 if count == "sessions" else 99) for count in LEAKED), found


def test_a_leak_of_memory_on_top_of_each_clean_run_is_found_or_undecided() -> None:
    """A small object, or malloc(64), in each request of a daemon process."""
    for unit, rate in (("blocks", 1), ("bytes", 80)):
        whole = [one for one in noise().memory if one.unit == unit and span(one.points) > 2_500]
        found = Counter(judge_memory([_leaking(one, rate)]).status for one in whole)
        assert found[LeakStatus.NO_LEAK] == 0
        assert found[LeakStatus.LEAK] >= len(whole) / 2, "those with no drift and no sawtooth"


def _leaking(one: MemorySeries, rate: int) -> MemorySeries:
    points = tuple((at, value + rate * at) for at, value in one.points)
    held = None if one.drained is None else one.drained + rate * points[-1][0]
    return msgspec.structs.replace(one, points=points, drained=held)


LEAKED = {
    "connections": ("connections", True),
    "descriptors": ("descriptors", True),
    "threads": ("threads", True),
    "cursors": ("cursors", False),
    "sessions": ("sessions", False),
}
"""The checks, with a field that each looks at, and whether it is one of the process."""


def _with(row: Sample, field: str, value: int, process: bool) -> Sample:
    if not process:
        return counting(row, **{field: value})
    changed = [msgspec.structs.replace(one, **{field: value}) for one in row.processes]
    return msgspec.structs.replace(row, processes=tuple(changed))
