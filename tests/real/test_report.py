"""The page that a real run leaves, and what it says of how the load went."""

from __future__ import annotations

from pathlib import Path

from tests.real.command import started
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import load_run
from wsgiproof.report.html.page import NAME

GUEST_BOOK = Path(__file__).parent / "apps" / "guest_book.py"


def test_a_run_leaves_its_page_and_its_pace(open_tmp: Path) -> None:
    options = [
        "--topology",
        "standalone",
        "--mode",
        "daemon",
        "-n",
        "120",
        # The ends of fourteen processes are not what this is about.
        "--phases",
        "restart",
        "--app",
        str(GUEST_BOOK),
    ]
    with started(open_tmp, *options) as command:
        assert command.finish() == 0, command.text
    assert f"Report: {command.output / NAME}" in command.text
    content = (command.output / NAME).read_bytes()
    assert content.startswith(b"<!doctype html>")
    assert b"1 cell passed" in content
    (cell,) = load_run(command.output).cells
    checks = {check.check: check.verdict for check in cell.checks}
    assert checks.pop("roundtrip") is checks.pop("closed-client") is Verdict.SKIPPED
    assert set(checks.values()) == {Verdict.PASS}
    assert cell.observed is not None
    taken = [sample.connections for sample in cell.observed.samples]
    assert all(taken), "it has not used its deployment"
    pace = cell.observed.load_timeline
    assert pace is not None
    assert sum(pace.requests) == cell.observed.requests
    (restart,) = cell.observed.restarts
    assert sum(pace.failed) == restart.refused
    first, last = cell.observed.phases[0], cell.observed.phases[-1]
    assert first.started < pace.started < last.started
    for requests, half, most, longest in zip(
        pace.requests, pace.p50, pace.p99, pace.longest, strict=True
    ):
        assert (0 < half <= most <= longest) if requests else (half, most, longest) == (0, 0, 0)
