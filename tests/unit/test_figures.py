"""Key figures and fitted lines: the same wherever they are told, and the judge's own."""

from __future__ import annotations

import io
import math

import msgspec
import pytest
from rich.console import Console

from tests.cells import CELL, cell_with
from tests.unit import scenarios
from tests.unit.factories import RESOURCES, ROUND, observed, reading, record, run_record
from tests.unit.factories import samples as readings
from tests.unit.test_corpus import EXPECTED, NAMES, recorded, seen
from tests.unit.test_judge_recovery import outage
from tests.unit.test_report import error
from wsgiproof.analysis.figures import TITLES, by_name, figures, with_figures
from wsgiproof.judge import memory
from wsgiproof.judge.fit import fits
from wsgiproof.records.run import CellRecord
from wsgiproof.records.traffic import Latencies
from wsgiproof.report.html.overview import overview
from wsgiproof.report.recorded import show_recorded
from wsgiproof.report.summary import to_markdown
from wsgiproof.subjects.registry import rules_of

QUICK = Latencies(url="a", phase="parallel", longest=9_000, buckets={1_000: 98, 8_960: 2})
WARM = Latencies(url="a", phase="warm-up", longest=900_000, buckets={896_000: 50})
TIMED = record(observed(latencies=(QUICK, WARM)))


def test_latency_is_that_of_the_parallel_phase() -> None:
    told = by_name(TIMED)
    assert told["latency_p50"].value == pytest.approx(0.001, rel=0.01)
    assert told["latency_p99"].value == 0.009
    assert told["latency_p99"].text == "9.0 ms"


def test_memory_is_the_slope_that_the_judge_has() -> None:
    for name in NAMES:
        figure = by_name(recorded(name)).get("memory_per_request")
        slopes = [
            one.slope
            for one in memory.decision_of(seen(name)).series
            if one.slope and one.series.unit == "bytes" and math.isfinite(one.slope.high)
        ]
        if slopes and "blocks_per_request" not in by_name(recorded(name)):
            assert figure is not None
            most = max(slopes, key=lambda one: one.rate)
            assert (figure.value, figure.low, figure.high) == (most.rate, most.low, most.high)


def test_growth_of_pythons_own_blocks_is_no_growth_of_0_bytes() -> None:
    """Malloc does not count what Python's own allocator takes."""
    shown = by_name(scenarios.leak_in_four_processes())
    assert shown["blocks_per_request"].value == pytest.approx(15, rel=0.01)
    assert "memory_per_request" not in shown, "resident memory did not grow here, and 0 is wrong"
    assert "blocks_per_request" not in by_name(record())
    assert by_name(record())["memory_per_request"].text == "0 B"


def test_where_blocks_grew_memory_is_what_the_process_has() -> None:
    seen = scenarios.leak_in_four_processes().observed
    assert seen is not None
    grown = [
        msgspec.structs.replace(
            sample,
            memory=tuple(
                msgspec.structs.replace(one, resident=60_000_000 + 4_000 * one.requests)
                for one in sample.memory
            ),
        )
        for sample in seen.samples
    ]
    shown = by_name(record(msgspec.structs.replace(seen, samples=tuple(grown))))
    assert shown["memory_per_request"].value == pytest.approx(4_000)


def test_recovery_is_the_longest_of_those_that_came() -> None:
    outages = (outage(recovered=1.3), outage(recovered=2.5), outage(recovered=None))
    assert by_name(record(observed(outages=outages)))["recovery"].text == "2.5 s"
    assert "recovery" not in by_name(record(observed(outages=(outage(recovered=None),))))


def test_what_was_not_measured_is_not_there() -> None:
    assert figures(error()) == ()
    assert "latency_p50" not in by_name(record())
    assert "requests_per_second" not in by_name(record(observed(requests_per_second=None)))


def test_the_same_words_are_told_everywhere() -> None:
    run = run_record(TIMED)
    out = Console(file=io.StringIO(), width=200)
    show_recorded(out, run, rules_of, 0, "/results")
    assert isinstance(out.file, io.StringIO)
    (cell,) = overview(run, rules_of)["cells"]
    (json,) = with_figures(run)["cells"]
    for one in figures(TIMED):
        assert one.text in out.file.getvalue()
        assert one.text in to_markdown(run)
        assert cell["figures"][one.name] == one.text
        assert json["figures"][one.name]["value"] == one.value
        assert TITLES[one.name] in to_markdown(run)


@pytest.mark.parametrize("name", NAMES)
def test_a_line_is_drawn_where_a_leak_was_called_and_nowhere_else(name: str) -> None:
    called = set(EXPECTED[name]["failing"]) & {*RESOURCES, "memory"}
    if seen(name).plan.max_file_growth is not None:
        called -= {"files"}  # files that grow, not more of them
    assert {one.check for one in fits(RESOURCES, seen(name))} == called
    for one in fits(RESOURCES, seen(name)):
        first, last = one.requests
        assert first < last
        assert one.line[1] - one.line[0] == pytest.approx(one.rate * (last - first))
        assert one.least[1] <= one.line[1] <= one.most[1]


def test_a_line_goes_from_the_first_reading_to_the_last() -> None:
    rows = [[reading(descriptors=40 + number)] for number in range(26)]
    (one,) = fits(RESOURCES, observed(samples=readings(rows)))
    assert (one.check, one.unit) == ("descriptors", "descriptor")
    first, last = one.line
    assert first == 40.0
    assert last == pytest.approx(65.0)
    assert one.requests[0] == ROUND
    assert one.rate == pytest.approx(1 / ROUND, rel=0.05)
    assert "one in" in one.text


@pytest.mark.parametrize("width", [80, 200])
def test_the_figures_of_cells_fit_on_a_line_each(width: int) -> None:
    other = cell_with(CELL, pymongo="4.1")
    rows = _figures(width, TIMED, record(cell=other))
    assert rows[0].split()[0] == "cell"
    assert [row.split()[0] for row in rows[2:4]] == ["4.20.0", "4.1"]
    assert len(rows[2].split()) > len(rows[3].split()), "it has no latency"


def test_the_figures_of_a_single_cell_need_no_id() -> None:
    heads, _, values, *_ = _figures(80, TIMED)
    assert heads.split()[0] == "requests/s"
    assert "9.0 ms" in values


def _figures(width: int, *cells: CellRecord) -> list[str]:
    """The lines of the table of figures, which comes last."""
    out = Console(file=io.StringIO(), width=width)
    show_recorded(out, run_record(*cells), rules_of, 0, "/results")
    assert isinstance(out.file, io.StringIO)
    rows = out.file.getvalue().split("Results: ")[1].splitlines()[2:]
    assert max(map(len, rows)) <= width
    return rows
