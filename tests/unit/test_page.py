"""What goes into the page of a run, before a browser looks at it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.cells import CELL, cell_with
from tests.unit import scenarios
from tests.unit.factories import (
    BORN,
    PARENT_ENDED,
    RULES,
    born,
    died,
    line,
    observed,
    record,
    run_record,
)
from tests.unit.test_judge_recovery import outage
from tests.unit.test_judge_restart import restart
from tests.unit.test_junit import hostile
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.observed import Observed, Role
from wsgiproof.report.html.cell_files import cell_file
from wsgiproof.report.html.detail import detail
from wsgiproof.report.html.embed import as_json, packed_json
from wsgiproof.report.html.logs import log
from wsgiproof.report.html.overview import overview
from wsgiproof.report.html.page import page
from wsgiproof.report.html.tables import tables
from wsgiproof.report.html.timeline import timeline
from wsgiproof.report.html.trials import trials
from wsgiproof.report.text import excerpt, visible
from wsgiproof.subjects.registry import rules_of

anything = some.text(some.characters(exclude_categories=()))
WHERE = f"cells/{CELL.id}"


@given(anything | some.text("<>&/script!-]\u2028\x00\u202e\ud800"))
def test_no_text_ends_its_element_or_is_invisible(text: str) -> None:
    told = as_json({"a": text, text: [text]})
    assert not re.search("[<>&\u2028\u2029]", told)
    back = json.loads(told)
    assert back["a"] == visible(text) or text == "a"
    assert json.loads(gzip.decompress(base64.b64decode(packed_json([text])))) == [visible(text)]
    assert all(char.isprintable() or char in "\n\t" for char in visible(text))


def test_what_is_invisible_is_shown_as_what_it_is() -> None:
    assert visible("a\x1b[1m\u202eb\x00\r\nc\td\x85") == "a␛[1m<U+202E>b␀\nc\td<U+0085>"
    assert visible("Grüße, 日本語, שלום") == "Grüße, 日本語, שלום"


def test_an_excerpt_says_what_it_leaves_out() -> None:
    assert excerpt("1\n2\n3", 2, 1) == "1\n2\n3"
    assert excerpt("\n".join(map(str, range(9))), 2, 1).split("\n") == [
        *("0", "1", "... 6 lines are left out here ...", "8")
    ]
    assert excerpt("x" * 1_010, 1, 0).endswith("x ... 10 more characters")


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append((tag, dict(attrs)))


def test_a_page_has_no_element_but_ours_and_fetches_nothing() -> None:
    harm = '</script><img src=x onerror=1><a href="http://evil.example">'
    content = page(hostile(harm), rules_of).decode()
    elements = Elements(content).seen
    assert {tag for tag, _ in elements} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "a", "header", "main", "p"),
        *("noscript", "code", "script"),
    }
    assert all(not attributes.get("src") for _, attributes in elements)
    hrefs = [attributes["href"] for _, attributes in elements if "href" in attributes]
    assert hrefs == ["data:,", "#main"]
    (policy,) = (
        attributes["content"]
        for _, attributes in elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


# Files beside a record


def cell_directory(run: Path) -> Path:
    where = run / WHERE
    where.mkdir(parents=True)
    return where


def test_a_file_is_read_and_a_large_one_in_part(tmp_path: Path) -> None:
    where = cell_directory(tmp_path)
    (where / "a").write_bytes(b"Listen 80 \xff")
    assert cell_file(tmp_path, WHERE, "a") == "Listen 80 \N{REPLACEMENT CHARACTER}"
    (where / "b").write_bytes(b"x\n" * 1_000_000 + b"end")
    text = cell_file(tmp_path, WHERE, "b")
    assert len(text) < 410_000
    assert text.endswith("end")
    assert "1,600,003 bytes are left out here" in text
    assert cell_file(tmp_path, WHERE, "c") == ""
    assert cell_file(None, WHERE, "a") == ""


def test_nothing_outside_of_a_run_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "httpd.conf").write_text("secret")
    run = tmp_path / "run"
    where = cell_directory(run)
    (where / "httpd.conf").symlink_to(secret / "httpd.conf")
    (run / "cells" / "link").symlink_to(secret)
    os.mkfifo(where / "error.log")
    for directory in ("../secret", "cells/..", str(secret), "cells/link", WHERE, "cells"):
        assert cell_file(run, directory, "httpd.conf") == ""
    assert cell_file(run, WHERE, "error.log") == "", "a pipe, which nobody writes to"


# The parts of a cell


def test_known_lines_are_kept_however_long_the_log_is() -> None:
    lines = [line(f"line {number}") for number in range(5_000)]
    lines[2_500] = line("AH00052: child pid 7 exit signal Segmentation fault (11)")
    shown = log(CELL, RULES.catalog, lines, 12)
    assert [one.number for one in shown if one.known] == [2_501]
    assert sum(not one.number for one in shown) == 3, "before it, after it, and not kept"
    gaps = [int(one.text.split()[0].replace(",", "")) for one in shown if not one.number]
    assert sum(gaps) + sum(bool(one.number) for one in shown) == 5_012


def test_lives_are_told_by_how_they_ended() -> None:
    recycled = cell_with(CELL, maximum_requests=100)
    seen = observed(
        events=(
            *BORN,
            died(phase="parallel", signal=11),
            born(201, Role.WORKER),
            died(201, phase="parallel", exit=0),
            born(201, Role.WORKER),
            PARENT_ENDED,
        )
    )
    told = timeline(recycled, seen)
    assert [(one.pid, one.outcome) for one in told["lives"]] == [
        *((100, "ended"), (200, "crash"), (201, "replaced"), (201, ""))
    ]
    assert "SIGSEGV" in told["lives"][1].how
    assert told["others"] == "1 frontend process: 1 not seen to end"


class Try(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    count: int
    note: str = ""


class Storm(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float
    time: float
    told: str
    tries: tuple[Try, ...]


class Later(Observed, frozen=True, kw_only=True):
    """A record of a version to come, with one more list in it."""

    storms: tuple[Storm, ...] = ()
    members: tuple[str, ...] = ()


def test_a_list_that_nobody_made_a_form_for_is_a_table() -> None:
    seen = Later(
        **{name: getattr(observed(), name) for name in Observed.__struct_fields__},
        storms=(
            Storm(
                seconds=1.23456,
                time=12.0,
                told="the primary died",
                tries=(Try(kind="reset", count=2), Try(kind="status", count=1, note="a\nb")),
            ),
        ),
        members=("one", "two"),
    )
    told = {one.title: one for one in tables(seen, 10.0)}
    assert told["Storms"].head == ("seconds", "time", "told", "tries")
    assert told["Storms"].rows == [
        (
            1.235,
            2.0,
            "the primary died",
            "kind reset, count 2\nkind status, count 1\nnote:\n  a\n  b",
        )
    ]
    assert told["Members"].rows == [("one",), ("two",)]


def test_restarts_and_outages_are_told_in_tables_of_their_own() -> None:
    seen = observed(
        restarts=(restart(refused=9, last_refused=0.31),),
        outages=(outage(), outage(primary_lost=None, recovered=None, after=None, settled=None)),
    )
    outages, restarts = trials(seen, 20.0)
    assert restarts.rows[0][:6] == (
        *("7.0 s", "restart", "0.40 s", 0, "0 of 15"),
        "9 of 75, the last after 0.31 s",
    )
    assert outages.rows[0][2:4] == ("0.01 to 1.10 s", "after 1.30 s")
    assert outages.rows[0][7:] == ("34 → 34", "0.1 s")
    assert outages.rows[1][2:4] == ("always one", "never")
    assert outages.rows[1][7:] == ("34 → not known", "not read")
    assert not {"Restarts", "Outages"} & {one.title for one in tables(seen, 20.0)}


class Tried(Finding, frozen=True, kw_only=True):
    """A finding of a version to come."""

    tries: tuple[Try, ...] = ()


def test_what_is_new_in_a_finding_is_shown_with_it() -> None:
    one = Tried(check="error-log", seen="s", meaning="m", action="a",
                tries=(Try(kind="known", count=3),))  # fmt: skip
    shown = detail(record(verdict=Verdict.FAIL, findings=(one,)), RULES, None)
    assert shown["causes"][0]["more"] == [("tries", "kind known, count 3")]


def test_an_entry_of_the_catalog_leads_its_finding_as_text() -> None:
    (cause,) = detail(scenarios.pyo3(), RULES, None)["causes"]
    assert cause["known"]["id"] == "pyo3"
    assert cause["meaning"] == cause["known"]["meaning"]
    assert "the first interpreter of a process" in cause["meaning"]
    assert "WSGIApplicationGroup %{GLOBAL}" in cause["action"]
    assert cause["more"] == [], "nothing of it is dumped"
    assert [one["check"] for one in cause["consequences"]] == ["responses"]
    assert [one["id"] for one in cause["traces"]] == ["script-failed"]


def test_plots_begin_with_the_resource_that_failed() -> None:
    clean = [one.name for one in detail(record(), RULES, None)["charts"]]
    assert clean[0] == "connections"
    leaking = detail(scenarios.leak_in_four_processes(), RULES, None)["charts"]
    assert (leaking[0].name, len(leaking[0].fits)) == ("blocks", 4)
    assert leaking[0].rate == "15 blocks per request in each of 4 processes"
    assert sorted(one.name for one in leaking) == sorted(clean)


def test_a_cell_says_which_axes_vary_in_its_run() -> None:
    axes = detail(record(), RULES, None, ["mode"])["axes"]
    assert [one["value"] for one in axes if one["varies"]] == ["daemon"]
    assert {"standalone", "shared-gil"} <= {one["value"] for one in axes}


def test_the_overview_says_why_what_to_do_and_where() -> None:
    pyo3, crash = scenarios.pyo3(), scenarios.crash_at_stop()
    shown = overview(run_record(pyo3, crash), rules_of)
    assert [one["known"] for one in shown["causes"]] == ["thread-outlives-interpreter", "pyo3"]
    for one, cell in zip(shown["causes"], (crash, pyo3), strict=True):
        assert one["cells"] == [cell.cell.id]
        assert all(one[part] for part in ("check", "seen", "meaning", "action"))
    assert shown["causes"][1]["consequences"] == ["responses"]
    assert "Python 3.11.7" in shown["same"]
    assert "mod_wsgi" not in shown["same"], "it varies"


def test_the_chart_library_is_what_its_authors_released() -> None:
    vendored = files("wsgiproof.report.html").joinpath("vendor", "uplot")
    listed = vendored.joinpath("SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in listed)}
    assert set(sums) == {"LICENSE", "uPlot.iife.min.js", "uPlot.min.css"}
    for name, digest in sums.items():
        assert sha256(vendored.joinpath(name).read_bytes()).hexdigest() == digest
    script = vendored.joinpath("uPlot.iife.min.js").read_text()
    assert "</script" not in script
    assert len(page(run_record(record()), rules_of)) < 200_000


@pytest.mark.parametrize(
    "changes", [{}, {"load_timeline": None, "phases": (), "events": (), "stop": None}]
)
def test_a_record_that_lacks_much_has_a_page(changes: dict[str, Any]) -> None:
    told = detail(record(observed(**changes)), RULES, None)
    assert told["id"] == CELL.id
    assert b"1 cell" in page(run_record(record(observed(**changes))), rules_of)
