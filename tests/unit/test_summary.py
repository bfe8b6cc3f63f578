"""The Markdown of a run: what it tells, and that nothing an application wrote is markup in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.cells import CELL, cell_with
from tests.unit.factories import record, run_record
from tests.unit.test_corpus import NAMES, recorded
from tests.unit.test_junit import hostile
from tests.unit.test_report import FAILED, UNDECIDED, early_end, error
from wsgiproof.analysis.axes import axes_of, varying
from wsgiproof.records.cell import Cell, InterpreterKind, Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord, Excluded
from wsgiproof.report.markdown import code, fence, in_table, link, prose, table
from wsgiproof.report.summary import to_markdown
from wsgiproof.subjects.pymongo.axes import Topology

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PARTS_OF_AXES = {
    *("python_name", "mod_wsgi_path", "mod_wsgi_commit", "min_processes"),
    *("httpd_path", "httpd_name"),
}
"""Fields of a cell that are told with another one."""

NASTY = (
    "a|b",
    "a\\|b \\",
    "`",
    "`` ` ```",
    "</details><script>alert(1)</script>",
    "<!-- x",
    "[x](http://evil.example) ![y](z)",
    "http://evil.example www.evil.example (www.evil.example a@evil.example",
    "@octocat #1 :smile: $x$ &amp; &#64;",
    "*a* _b_ ~~c~~ __d__ a_b_ _c",
    "# h\n- l\n\n1. n\n\n> q\n```\n---",
    "\x1b[2J\x00\u202e\ud800",
)
hostile_text = some.text(some.characters(exclude_categories=())) | some.text("`|\\_*<>[]() \na")


def nasty(test: Any) -> Any:
    for text in NASTY:
        test = example(text)(test)
    return settings(deadline=None)(given(hostile_text)(test))


def tokens(markdown: str) -> Iterator[Token]:
    for token in MARKDOWN.parse(markdown):
        yield token
        yield from token.children or ()


def text_of(markdown: str) -> str:
    return "".join(token.content for token in tokens(markdown) if token.type in TEXT)


TEXT = {"text", "code_inline", "fence"}


def cell(record: CellRecord, **axes: Any) -> CellRecord:
    changed = cell_with(CELL, **axes)
    return msgspec.structs.replace(record, cell=changed)


def shown(*cells: CellRecord, **changes: Any) -> str:
    return to_markdown(run_record(*cells, **changes))


def rows(markdown: str) -> list[list[str]]:
    """The first table, as text."""
    parsed = MARKDOWN.parse(markdown)
    ends = [at for at, token in enumerate(parsed) if token.type == "table_close"]
    return rows_of(parsed[: ends[0]] if ends else [])


def rows_of(parsed: list[Token]) -> list[list[str]]:
    found: list[list[str]] = []
    for at, token in enumerate(parsed):
        if token.type == "tr_open":
            found.append([])
        if token.type in ("th_open", "td_open"):
            found[-1].append("".join(one.content for one in parsed[at + 1].children or ()))
    return found


# What it tells


@pytest.mark.parametrize(
    ("cells", "title"),
    [
        ([record()], "## wsgiproof: 1 cell passed"),
        ([FAILED, cell(record(), pymongo="4.1")], "## wsgiproof: 1 of 2 cells failed"),
        ([UNDECIDED], "## wsgiproof: 0 of 1 cell passed, none failed, others undecided"),
    ],
)
def test_the_title_is_the_outcome(cells: list[CellRecord], title: str) -> None:
    assert shown(*cells).splitlines()[0] == title


def test_what_never_came_is_no_success() -> None:
    text = shown(record(), planned=(CELL.id, "py3.13t"))
    assert text.startswith("## wsgiproof: 1 of 2 cells passed, none failed, others undecided")
    assert "2 cells planned: 1 pass, 1 never ran." in text
    assert "### Never ran\n\n- `py3.13t`\n" in text


def test_the_table_has_the_axes_that_vary_alone() -> None:
    cells = [
        cell(record(), pymongo="4.19.0"),
        cell(FAILED, pymongo="4.20.0"),
        cell(UNDECIDED, pymongo="4.20.0", mode=Mode.EMBEDDED),
    ]
    markdown = shown(*cells)
    assert rows(markdown) == [
        ["pymongo", "daemon", "embedded"],
        ["4.19.0", "✓ pass", "\N{EN DASH}"],
        ["4.20.0", "✗ fail: responses, crash", "? inconclusive: shutdown"],
    ]
    assert (
        "In all cells: Python 3.12.1, mod_wsgi 5.0.2, standalone, prefork, shared-gil" in markdown
    )


def test_a_single_cell_is_a_table_too() -> None:
    assert rows(shown(error()))[1] == ["3.12.1", "5.0.2", "4.20.0", "! error"]


def test_too_many_columns_become_rows() -> None:
    cells = [
        cell(record(), topology=topology, mode=mode, interpreter=kind)
        for topology in (Topology.STANDALONE, Topology.REPLICA_SET, Topology.NONE)
        for mode in Mode
        for kind in (InterpreterKind.SHARED_GIL, InterpreterKind.OWN_GIL)
    ]
    head, *others = rows(shown(*cells))
    assert head[:4] == ["Python", "mod_wsgi", "pymongo", "interpreter"]
    assert len(head) == 4 + 6
    assert len(others) == 2


def test_of_too_many_rows_those_are_left_out_that_passed() -> None:
    passed = [cell(record(), pymongo=f"4.{number}") for number in range(100)]
    markdown = shown(*passed, cell(FAILED, pymongo="3.1"))
    assert [row[0] for row in rows(markdown)] == ["pymongo", "3.1"]
    assert "Not shown: 100 rows; passed rows are left out first." in markdown


def test_one_finding_of_many_cells_is_told_once() -> None:
    failed = [
        cell(FAILED, mod_wsgi="6.1.1", pymongo=f"4.{number}", mode=mode)
        for number in range(10)
        for mode in Mode
    ]
    passed = [
        cell(record(), pymongo=f"4.{number}", mode=mode) for number in (3, 4) for mode in Mode
    ]
    markdown = shown(*passed, *failed)
    assert "### crash: 20 cells, every one with mod_wsgi 6.1.1\n" in markdown
    assert markdown.count(FAILED.findings[-1].meaning) == 1
    assert f"`{failed[9].cell.id}`, and 10 more)" in markdown
    some_of_them = shown(*passed, *failed, cell(record(), mod_wsgi="6.1.1", pymongo="1.0"))
    assert "### crash: 20 cells, all with mod_wsgi 6.1.1\n" in some_of_them


def test_a_finding_says_all_that_it_says_elsewhere() -> None:
    text = text_of(shown(FAILED))
    for finding in FAILED.findings:
        assert f"seen: {finding.seen} ({CELL.id})" in text
        assert f"means: {finding.meaning}" in text
        assert f"do: {finding.action}" in text
        assert "\n".join(finding.evidence) in text
    assert f"rerun: {FAILED.rerun}" in text
    assert "shutdown: wsgiproof did not stop the server" in text, "beside what was found"


def test_undecided_cells_and_errors_say_why() -> None:
    failed = cell(error("no space"), pymongo="4.19.0")
    text = text_of(shown(UNDECIDED, failed))
    assert f"shutdown: wsgiproof did not stop the server ({CELL.id}; rerun: wsgiproof run" in text
    assert f"reason: no space ({failed.cell.id}; rerun: wsgiproof run" in text


def test_checks_without_a_chance_share_one_item() -> None:
    text = text_of(shown(early_end()))
    assert text.count("the experiment ended early: 100 requests failed") == 1
    assert "environment, interpreters, roundtrip" in text


def test_a_finding_names_the_error_log_and_a_control_that_it_was_planted() -> None:
    planted = cell_with(CELL, control="leak-cursor")
    text = text_of(shown(msgspec.structs.replace(FAILED, cell=planted)))
    assert f"{FAILED.directory}/error.log" in text
    assert "'leak-cursor' changes the application on purpose" in text
    assert "on purpose" not in shown(FAILED)


def test_a_skipped_cell_says_why() -> None:
    text = shown(record(verdict=Verdict.SKIPPED, reason="it needs an MPM"))
    assert "### Skipped\n\n- reason: it needs an MPM " in text


def test_excluded_combinations_are_counted_by_reason() -> None:
    reasons = ["no GIL of their own", "no such MPM", "no GIL of their own"]
    excluded = tuple(
        Excluded(axes={"python": str(at)}, reason=why) for at, why in enumerate(reasons)
    )
    markdown = shown(record(), excluded=excluded)
    assert "1 cell planned: 1 pass; 3 combinations excluded." in markdown
    assert "- 2 combinations: no GIL of their own\n- 1 combination: no such MPM\n" in markdown


def test_a_run_of_nothing_is_told() -> None:
    assert "2 cells planned: 2 never ran." in shown(planned=("a", "b"))


@pytest.mark.parametrize("name", NAMES[::7])
def test_real_cells_are_told(name: str) -> None:
    real = recorded(name)
    text = text_of(shown(real))
    for finding in real.findings:
        assert finding.seen in text
        assert finding.meaning in text


def test_it_fits_into_a_comment() -> None:
    cells = []
    for number in range(200):
        (finding, *_) = FAILED.findings
        one = msgspec.structs.replace(finding, meaning=f"meaning {number} " + "x " * 500)
        cells.append(cell(record(verdict=Verdict.FAIL, findings=(one,)), pymongo=f"4.{number}"))
    markdown = shown(*cells)
    assert 40_000 < len(markdown) < 65_536
    assert re.search(r"\n\d+ sections more did not fit; `results.json` has all", markdown)


def test_every_axis_of_a_cell_is_told() -> None:
    fields = {*Cell.__struct_fields__} - {"subject", "of_subject"}
    of_subject = {
        "pymongo", "topology", "workload", "mongodb", "transport", "uri_options", "extras",
    }  # fmt: skip
    assert {*axes_of([CELL])} | PARTS_OF_AXES == fields | of_subject
    for field, value in {
        "python_name": "3.12t",
        "mod_wsgi_path": "/m.so",
        "pymongo_path": "/p",
    }.items():
        assert varying([CELL, cell_with(CELL, **{field: value})])
    here, there = (cell_with(CELL, httpd="2.4.71", httpd_path=one) for one in ("/a", "/b"))
    assert varying([here, there]) == ["httpd"]


# Whatever an application has written


INLINE = {"inline", "text", "code_inline", "softbreak", "paragraph_open", "paragraph_close"}


@nasty
def test_prose_is_words_and_code(text: str) -> None:
    markdown = f"says: {prose(text)}"
    assert {token.type for token in tokens(markdown)} <= INLINE
    (words, *_) = [token for token in MARKDOWN.parse(markdown) if token.type == "inline"]
    for child in words.children or ():
        if child.type == "text":
            assert not re.search(r"[@#<&$|`*\\]|://|www\.|:\w+:", child.content)
    printable = "".join(
        char if char.isprintable() or char == "\t" else "?"
        for line in text.replace("\r\n", "\n").split("\n")
        for char in f"{line} "
    )
    assert text_of(markdown).split() == ["says:", *printable.split()]  # fmt: skip


@nasty
def test_code_is_one_piece_of_code(text: str) -> None:
    markdown = code(text)
    (inline, *_) = [token for token in MARKDOWN.parse(f"x {markdown}") if token.type == "inline"]
    kinds = [child.type for child in inline.children or ()]
    assert kinds == (["text", "code_inline"] if markdown else ["text"])


@nasty
def test_nothing_ends_a_block_of_code(text: str) -> None:
    after = "after"
    parsed = MARKDOWN.parse(f"{fence(text)}\n\n{after}")
    assert [token.type for token in parsed] == [
        *("fence", "paragraph_open", "inline", "paragraph_close")
    ]
    assert parsed[2].content == after


@nasty
def test_nothing_adds_to_a_table(text: str) -> None:
    parsed = rows(table(["a", "b"], [[in_table(text), "end"], ["c", "d"]]))
    assert [len(row) for row in parsed] == [2, 2, 2]
    assert parsed[1][1] == "end"


@nasty
def test_nothing_adds_to_a_summary(text: str) -> None:
    parsed = list(tokens(to_markdown(hostile(text))))
    kinds = [token.type for token in parsed]
    assert not {"link_open", "image", "html_inline", "ordered_list_open", "s_open"} & set(kinds)
    html = [token.content.strip() for token in parsed if token.type == "html_block"]
    assert html == [
        *("<details><summary>Evidence, of the first</summary>", "</details>"),
        *("<details><summary>Key figures</summary>", "</details>"),
    ]
    headings = [token for token in parsed if token.type == "heading_open"]
    assert [token.tag for token in headings] == ["h2", *["h3"] * 5]
    assert all(char.isprintable() or char in "\n\t" for char in to_markdown(hostile(text)))


def test_megabytes_are_cut() -> None:
    assert len(to_markdown(hostile("x" * 3_000_000))) < 65_536
    assert len(to_markdown(hostile("x\n" * 1_000_000))) < 65_536


def test_a_plain_url_is_a_link_and_nothing_else_is() -> None:
    url = "https://modwsgi.readthedocs.io/en/latest/error-reference.html#wsgi0147"
    assert link(url) == f"<{url}>"
    for other in (
        "wsgiproof explain finding-1",
        "http://x",
        "https://a>b",
        "https://a b",
        "x https://a",
    ):
        assert link(other) == ""
