"""An audit in each form: the terminal, JUnit XML, Markdown and a page say the same."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from junitparser import Error, Failure, JUnitXml, TestCase

from tests.unit.test_page import Elements
from wsgiproof.records.audit import (
    Attempt,
    Audit,
    Distribution,
    Environment,
    Outcome,
    Result,
    Stage,
    StandardFailure,
)
from wsgiproof.records.audit import Failure as Raised
from wsgiproof.records.cell import InterpreterKind
from wsgiproof.report.audited import heading, show_audit
from wsgiproof.report.audited_junit import audit_to_junit
from wsgiproof.report.audited_markdown import audit_to_markdown
from wsgiproof.report.console import SafeConsole
from wsgiproof.report.files import write_audit_reports
from wsgiproof.report.html.audited import audit_page, leave_audit_page

MAIN, SHARED = InterpreterKind.MAIN, InterpreterKind.SHARED_GIL


def attempt(text: str = "", **fields: object) -> Attempt:
    usual = {"kind": SHARED, "exit": 0, "stage": Stage.FINISHED, "seconds": 1.5}
    return Attempt(**{**usual, **fields})  # type: ignore[arg-type]


def result(name: str, outcome: Outcome = Outcome.WORKS, **fields: object) -> Result:
    usual = {"kind": SHARED, "version": "1.0", "attempts": (attempt(), attempt())}
    return Result(name=name, outcome=outcome, **{**usual, **fields})  # type: ignore[arg-type]


def audit(*results: Result, **fields: object) -> Audit:
    control = tuple(
        result(one.name, kind=MAIN) for one in results if one.outcome is not Outcome.NOT_INSTALLABLE
    )
    environment = Environment(
        python="Python 3.11.2",
        path="/usr/bin/python3.11",
        kinds=(SHARED,),
        audited=tuple(one.name for one in control),
        results=results,
        control=control,
        advice=("The advice.",),
        baseline={InterpreterKind.OWN_GIL: (StandardFailure(module="datetime", error="died"),)},
        not_confined={"network": "Operation not permitted"},
    )
    return Audit(
        wsgiproof="1.2",
        command="wsgiproof audit fast",
        started=0.0,
        seconds=12.0,
        trials=5,
        timeout=60.0,
        leak_limit=16 << 20,
        notes=("Only what site needs is tried.",),
        environments=(environment,),
        **fields,  # type: ignore[arg-type]
    )


CRASHED = attempt(exit=None, signal=11, stage=Stage.IMPORT, doing="while it imported bad")
BAD = result("bad", Outcome.CRASHES, reason="died of SIGSEGV", attempts=(attempt(), CRASHED))
ALL = audit(
    result("good", exercised=True, ends="none of 2 process ends crashed"),
    BAD,
    result("needs", Outcome.REFUSES, reason="needs can't be imported", cause="bad"),
    result("odd", Outcome.UNKNOWN, reason="fails in main too", notes=("a note",)),
    result("gone", Outcome.NOT_INSTALLABLE, reason="no version fits", attempts=()),
)


def cases(record: Audit) -> dict[str, TestCase]:
    (suite,) = JUnitXml.fromstring(audit_to_junit(record).decode())
    return {str(case.name): case for case in suite}


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ((), "nothing was tried"),
        ((result("a"),), "the package works"),
        ((result("a"), result("b")), "all 2 packages work"),
        ((result("a"), BAD), "1 of 2 packages breaks"),
        ((result("a"), BAD, result("c", Outcome.WRONG)), "2 of 3 packages break"),
        ((result("a"), result("b", Outcome.UNKNOWN)), "none of 2 packages breaks, 1 not known"),
    ],
)
def test_the_answer_in_a_few_words(results: tuple[Result, ...], told: str) -> None:
    assert heading(audit(*results)) == told


def test_each_package_and_kind_is_a_test_case() -> None:
    read = cases(ALL)
    assert [*read] == [
        f"Python 3.11.2 {name} 1.0 shared-gil" for name in ("good", "bad", "needs", "odd", "gone")
    ]
    good, bad, needs, odd, gone = read.values()
    assert good.is_passed and good.time == 3.0
    assert good.system_out == "its exercise was done; none of 2 process ends crashed"
    for case, kind, message in (
        (bad, Failure, "crashes: died of SIGSEGV"),
        (needs, Failure, "refuses (because of bad): needs can't be imported"),
        (odd, Error, "unknown: fails in main too"),
        (gone, Error, "not installable: no version fits"),
    ):
        (told,) = case.result
        assert (type(told), told.message) == (kind, message)
    assert odd.result[0].text == "fails in main too\na note"


def test_markdown_has_the_answer_then_what_breaks_and_what_works_folded() -> None:
    told = audit_to_markdown(ALL)
    places = [
        told.index(part)
        for part in (
            "## wsgiproof audit: 2 of 5 packages break\n",
            "The advice.",
            "| package | version | main | shared-gil | tried by |",
            "| bad | 1.0 | ✓ works | ✗ **crashes** | import alone |",
            "| gone | 1.0 | \N{EN DASH} | ? not installable | - |",
            "- needs 1.0 under shared-gil: **refuses**, because of bad. needs can't be imported",
            "<summary>1 package works on Python 3.11.2</summary>",
            "| good | 1.0 | ✓ works | ✓ works | exercise |",
            "The standard library alone fails under own-gil",
        )
    ]
    assert places == sorted(places)


def test_markdown_that_is_too_long_says_what_it_leaves_out() -> None:
    many = [result(f"bad{n}", Outcome.REFUSES, reason="x " * 300) for n in range(200)]
    told = audit_to_markdown(audit(*many))
    assert len(told) < 65_536
    assert "100 more are in `audit.json`" in told
    assert "part did not fit" in told or "more did not fit" in told


def test_each_cell_of_the_page_leads_to_its_evidence() -> None:
    elements = Elements(audit_page(ALL).decode()).seen
    targets = {fields["id"] for _, fields in elements if "id" in fields}
    chips = [fields["href"] for tag, fields in elements if "chip" in (fields.get("class") or "")]
    assert len(chips) == len({*chips}) == 4 + 5
    assert {f"#{target}" for target in targets} >= {*chips}


def test_the_page_says_the_answer_first_and_what_breaks_before_what_works() -> None:
    page = audit_page(ALL).decode()
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page.partition("<main")[2]))
    places = [
        text.index(part)
        for part in (
            "2 of 5 packages break",
            "The advice.",
            "shared-gil: 1 works, 1 refuses, 1 crashes, 1 not installable, 1 unknown",
            "bad 1.0 ✓ works ✗ crashes",
            "good 1.0 ✓ works ✓ works exercise",
            "The standard library alone fails under own-gil",
            "The packages could use the network",
            "died of SIGSEGV (signal 11) while it imported bad",
            "because of bad",
            "wsgiproof audit fast",
        )
    ]
    assert places == sorted(places)


def hostile(text: str) -> Audit:
    """The text in each place that has text of others."""
    raised = Raised(interpreter=2, stage=Stage.IMPORT, module=text, error=text, deepest=text)
    lost = attempt(exit=1, stage=Stage.IMPORT, doing=text, failures=(raised,), output=text)
    one = result(text, Outcome.CRASHES, version=text, reason=text, cause=text, ends=text)
    bad = Environment(
        python=text,
        path=text,
        kinds=(SHARED,),
        distributions=(Distribution(name=text, version=text),),
        results=(one, result(text, Outcome.UNKNOWN, reason=text, notes=(text,), attempts=(lost,))),
        control=(result("fine", kind=MAIN),),
        advice=(text,),
        baseline={InterpreterKind.OWN_GIL: (StandardFailure(module=text, error=text),)},
        not_confined={text: text},
    )
    return Audit(
        wsgiproof=text, command=text, started=0.0, seconds=1.0, trials=1, timeout=1.0, leak_limit=1,
        notes=(text,), environments=(bad,),
    )  # fmt: skip


def test_the_page_has_no_element_but_ours_and_fetches_nothing() -> None:
    harm = '</style><script>x</script><img src=x onerror=1><a href="http://evil.example">'
    elements = Elements(audit_page(hostile(harm)).decode()).seen
    assert not {"script", "img", "iframe", "form"} & {tag for tag, _ in elements}
    assert all(not fields.get("src") for _, fields in elements)
    hrefs = [fields["href"] or "" for _, fields in elements if "href" in fields]
    assert hrefs and all(href == "data:," or href.startswith("#") for href in hrefs)
    (policy,) = (fields["content"] for _, fields in elements if fields.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


@settings(deadline=None, max_examples=50)
@given(some.text() | some.text("|`<>[]()*_!#@&\\\n\x00\x1b\u202e"))
def test_whatever_a_package_says_each_report_is_whole(text: str) -> None:
    record = hostile(text)
    assert len(cases(record)) >= 1
    page = audit_page(record).decode()
    assert page.endswith("</html>\n")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", page)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", audit_to_markdown(record))
    console = SafeConsole(file=io.StringIO(), width=80)
    show_audit(console, record, "audit.json")


def test_at_80_columns_the_table_is_whole() -> None:
    out = io.StringIO()
    show_audit(SafeConsole(file=out, width=80, highlight=False), ALL, "/o/audit.json")
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(re.fullmatch(r"bad +1\.0 +works +crashes +import alone *", one) for one in lines)
    assert "Only what site needs is tried." in lines and "Record: /o/audit.json" in lines


def test_the_files_that_are_asked_for_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step"))
    notes: list[str] = []
    write_audit_reports(ALL, tmp_path / "new" / "a.xml", tmp_path / "a.md", notes.append)
    assert (tmp_path / "new" / "a.xml").read_bytes() == audit_to_junit(ALL)
    assert (tmp_path / "a.md").read_text() == audit_to_markdown(ALL)
    assert (tmp_path / "step").read_text() == audit_to_markdown(ALL) + "\n"
    assert len(notes) == 1 and "did not exist" in notes[0]
    path = leave_audit_page(ALL, tmp_path)
    assert path == tmp_path / "audit.html" and path.read_bytes() == audit_page(ALL)
