"""Findings that are known: they fail nothing; another one does, and so does one that is gone."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from tests.cells import CELL, cell_with
from tests.unit.factories import (
    BORN,
    ENDED,
    LOG,
    RULES,
    failure,
    line,
    reading,
    record,
    run_record,
    samples,
)
from tests.unit.test_process_ends import CLEAN, CRASH, KILLED, Way, in_trials
from tests.unit.test_resume import job
from wsgiproof.analysis.compare import compare
from wsgiproof.analysis.merge import merge
from wsgiproof.cli import cli
from wsgiproof.config.file import combine, load
from wsgiproof.config.known import KnownTable
from wsgiproof.config.model import Config
from wsgiproof.errors import ExitCode, UsageError
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records.judgement import Finding, Rate, Verdict
from wsgiproof.records.known import Known, KnownInCell, KnownState
from wsgiproof.records.observed import LeftoverThreads, Observed
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.records.reading import load_run, read_directory
from wsgiproof.records.run import CellRecord, exit_code, known_in
from wsgiproof.records.writing import RESULTS, save
from wsgiproof.report.causes import causes
from wsgiproof.report.html.overview import overview
from wsgiproof.report.junit import to_junit
from wsgiproof.report.summary import heading, to_markdown
from wsgiproof.report.terminal import show_run
from wsgiproof.run.session import split
from wsgiproof.subjects.registry import rules_of

CRASHING = cell_with(CELL, mod_wsgi="6.1.1")
ENTRY = "thread-outlives-interpreter"
LINK = "https://example.org/issues/1"
KNOWN = Known(check="crash", entry=ENTRY, reason="threads run once more", link=LINK)
PYMONGO = "/env/lib/python3.12/site-packages/pymongo"
OF_MONITOR = f"""Fatal Python error: Segmentation fault

Thread 0x00007fb456f3c780 (most recent call first):
  File "{PYMONGO}/periodic_executor.py", line 251 in join
"""
OF_APPLICATION = """Fatal Python error: Segmentation fault

Current thread 0x00007fb456f3c780 (most recent call first):
  File "/srv/shop/cache.py", line 12 in forget
"""


def ended(*ends: Way, trace: str = OF_MONITOR, crash_bound: float = 0.2) -> Observed:
    """What is seen of a cell whose phase ``trials`` ended processes in these ways."""
    seen = in_trials(*ends, crash_bound=crash_bound)
    crashed = [one.pid for one in seen.events if one.signal == CRASH["signal"]]
    plan = msgspec.structs.replace(seen.plan, phases=(ExtraPhase.TRIALS,))
    return msgspec.structs.replace(
        seen,
        plan=plan,
        identities=tuple(
            msgspec.structs.replace(one, mod_wsgi=CRASHING.mod_wsgi) for one in seen.identities
        ),
        events=(*BORN, *seen.events, *ENDED),
        fatal_traces=tuple(f"pid {pid}: {trace}" for pid in crashed),
    )


HALF = ended(*[CRASH] * 8, *[CLEAN] * 8)
NONE = ended(*[CLEAN] * 16)
FEW = ended(*[CLEAN] * 3)
ANOTHER = ended(*[CRASH] * 8, *[CLEAN] * 8, trace=OF_APPLICATION)


def cell(seen: Observed | None, *tables: Known, upstream: bool = False, **axes: Any) -> CellRecord:
    """The record of a cell to which these tables apply."""
    of_cell = cell_with(CRASHING, **axes)
    one = msgspec.structs.replace(
        record(seen, of_cell),
        known=tuple(KnownInCell(table=table) for table in tables),
        accept_known_upstream=upstream,
    )
    return judge_record(one, RULES)


def check(one: CellRecord, name: str = "crash") -> tuple[Verdict, str]:
    return next((each.verdict, each.reason) for each in one.checks if each.check == name)


def state(*cells: CellRecord) -> KnownState:
    (one,) = known_in(cells)
    return one.state


def shown(cells: Sequence[CellRecord]) -> str:
    console = Console(file=io.StringIO(), width=300, highlight=False)
    show_run(console, cells, rules_of, exit_code(cells), "out")
    return str(console.file.getvalue())  # type: ignore[attr-defined]


# What the judge says


def test_without_a_table_it_fails_as_before() -> None:
    one = cell(HALF)
    assert (one.verdict, one.reason) == (Verdict.FAIL, "crash")
    assert exit_code([one]) is ExitCode.FINDING


def test_what_is_known_fails_neither_cell_nor_run() -> None:
    one = cell(HALF, KNOWN)
    assert (one.verdict, one.reason) == (Verdict.KNOWN, "crash")
    verdict, reason = check(one)
    assert verdict is Verdict.KNOWN
    assert reason.startswith("8 of 17 process ends crashed")
    assert [finding.known for finding in one.findings] == [KNOWN]
    assert exit_code([one, cell(NONE, python_name="19")]) is ExitCode.PASS
    assert state(one) is KnownState.SEEN


@pytest.mark.parametrize(
    "table",
    [
        msgspec.structs.replace(KNOWN, entry="heap-corrupt"),
        msgspec.structs.replace(KNOWN, check="hang"),
        msgspec.structs.replace(KNOWN, signature="forget_everything"),
        Known(check="crash", signature="forget_everything", reason="another one"),
    ],
)
def test_another_entry_or_signature_or_check_is_not_known(table: Known) -> None:
    one = cell(HALF, table)
    assert (one.verdict, one.findings[0].known) == (Verdict.FAIL, None)


def test_a_signature_may_be_in_the_evidence_or_in_what_was_seen() -> None:
    for text in ("periodic_executor.py", "SIGSEGV"):
        table = Known(check="crash", signature=text, reason="seen before")
        assert cell(HALF, table).verdict is Verdict.KNOWN


def test_a_crash_that_became_another_one_fails() -> None:
    one = cell(ANOTHER, KNOWN)
    assert (one.verdict, one.findings[0].known) == (Verdict.FAIL, None)
    assert exit_code([one]) is ExitCode.FINDING


def test_a_crash_beside_the_known_one_fails() -> None:
    """Without core files both are one finding: all of its traces have to be known."""
    first, *others = HALF.fatal_traces
    mixed = msgspec.structs.replace(
        HALF, fatal_traces=(*others, first.replace(OF_MONITOR, OF_APPLICATION))
    )
    one = cell(mixed, KNOWN)
    assert len(one.findings) == 1
    assert one.verdict is Verdict.FAIL


def test_many_crashes_do_not_crowd_their_trace_out_of_the_evidence() -> None:
    threads = ("pymongo_server_monitor_thread", "pymongo_kill_cursors_thread")
    pids = [int(text.split(":")[0].removeprefix("pid ")) for text in HALF.fatal_traces]
    leftover = tuple(
        LeftoverThreads(pid=pid, application_group=group, threads=threads)
        for pid in pids
        for group in ("interpreter1", "interpreter2")
    )
    one = cell(msgspec.structs.replace(HALF, leftover_threads=leftover), KNOWN)
    assert one.verdict is Verdict.KNOWN
    evidence = one.findings[0].evidence
    assert any(
        text.startswith("pid 300: 2 threads of interpreter1") and "7 other processes" in text
        for text in evidence
    )
    assert sum("Fatal Python error" in text for text in evidence) == 1


def test_missing_evidence_is_still_undecided() -> None:
    lost = msgspec.structs.replace(HALF, stop=None)
    one = cell(lost, KNOWN)
    assert one.verdict is Verdict.INCONCLUSIVE
    assert exit_code([one]) is ExitCode.UNDECIDED


@pytest.mark.parametrize(("at_most", "verdict"), [(0.3, Verdict.KNOWN), (0.2, Verdict.FAIL)])
def test_one_that_is_more_frequent_than_known_fails(at_most: float, verdict: Verdict) -> None:
    """8 of 17 are at least 23 %, with a probability of 97.5 %."""
    one = cell(HALF, msgspec.structs.replace(KNOWN, at_most=at_most))
    assert one.verdict is verdict
    says = "more frequent than that: at least 0.23 (95 %)" in check(one)[1]
    assert says == (verdict is Verdict.FAIL)
    assert state(one) is KnownState.SEEN


def test_crashes_in_two_ways_are_one_rate_of_what_is_known() -> None:
    aborted = {"signal": 6}
    seen = ended(*[CRASH] * 8, *[aborted] * 7, CLEAN)
    table = Known(check="crash", signature="process ends crashed", reason="both", at_most=0.5)
    one = cell(seen, table)
    assert [finding.rate and finding.rate.number for finding in one.findings] == [8, 7]
    assert one.verdict is Verdict.FAIL
    assert cell(seen, msgspec.structs.replace(table, at_most=0.7)).verdict is Verdict.KNOWN


def test_a_crash_under_load_has_no_rate_that_at_most_allows() -> None:
    seen = ended(*[CLEAN] * 16)
    crash = msgspec.structs.replace(seen.events[3], pid=999)
    died = msgspec.structs.replace(seen.events[4], pid=999, phase="parallel", exit=None, signal=11)
    seen = msgspec.structs.replace(seen, events=(*seen.events, crash, died))
    table = Known(check="crash", signature="SIGSEGV", reason="seen before")
    assert cell(seen, table).verdict is Verdict.KNOWN
    one = cell(seen, msgspec.structs.replace(table, at_most=0.9))
    assert one.verdict is Verdict.FAIL
    assert "not at the end of a process" in check(one)[1]


def test_a_hang_at_the_end_has_a_rate_as_well() -> None:
    seen = ended(*[KILLED] * 8, *[CLEAN] * 8)
    table = Known(check="shutdown", signature="8 of 17 process ends hung", reason="seen before")
    one = cell(seen, table)
    assert one.verdict is Verdict.KNOWN
    assert [finding.rate for finding in one.findings] == [Rate(number=8, total=17)]
    rare = cell(seen, msgspec.structs.replace(table, at_most=0.2))
    assert rare.verdict is Verdict.FAIL


# What is gone


def test_what_no_longer_appears_fails_the_run() -> None:
    one = cell(NONE, KNOWN)
    assert one.verdict is Verdict.PASS
    assert state(one) is KnownState.GONE
    assert exit_code([one]) is ExitCode.FINDING


@pytest.mark.parametrize("name", ["crash", "shutdown"])
def test_too_few_ends_of_processes_tell_nothing(name: str) -> None:
    table = Known(check=name, signature="x", reason="seen before")
    few = msgspec.structs.replace(FEW, plan=msgspec.structs.replace(FEW.plan, phases=()))
    one = cell(few, table)
    assert (one.verdict, state(one)) == (Verdict.PASS, KnownState.UNDECIDED)
    assert exit_code([one]) is ExitCode.PASS
    assert state(cell(NONE, table)) is KnownState.GONE
    rarer = ended(*[CLEAN] * 16, crash_bound=0.01)
    assert state(cell(rarer, table)) is KnownState.UNDECIDED


def test_another_check_has_to_have_passed() -> None:
    table = Known(check="threads", signature="x", reason="seen before")
    assert state(cell(FEW, table)) is KnownState.GONE
    skipped = msgspec.structs.replace(table, check="connections")
    assert state(cell(None, skipped, topology="none")) is not KnownState.SEEN
    growing = samples([[reading(threads=20 + 5 * number)] for number in range(26)])
    leaking = msgspec.structs.replace(FEW, samples=growing)
    assert state(cell(leaking, table)) is KnownState.UNDECIDED, "it failed otherwise"


def test_one_cell_with_it_is_enough_and_each_other_one_has_to_be_decided() -> None:
    seen, none = cell(HALF, KNOWN), cell(NONE, KNOWN, python_name="19")
    few = cell(FEW, KNOWN, python_name="18")
    error = cell(None, KNOWN, python_name="17")
    error = msgspec.structs.replace(
        error, known=(KnownInCell(table=KNOWN),), verdict=Verdict.ERROR, observed=None
    )
    elsewhere = cell(NONE, python_name="16")
    assert state(none, seen) is KnownState.SEEN
    assert state(none, few) is KnownState.UNDECIDED
    assert state(none, error) is KnownState.UNDECIDED
    assert state(none, elsewhere) is KnownState.GONE


def test_a_known_crash_that_became_another_known_one_is_gone() -> None:
    other = Known(check="crash", signature="cache.py", reason="the other one")
    one = cell(ANOTHER, KNOWN, other)
    assert one.verdict is Verdict.KNOWN
    assert [each.state for each in one.known] == [KnownState.GONE, KnownState.SEEN]
    assert exit_code([one]) is ExitCode.FINDING


# What is a bug of somebody else


def test_a_bug_of_somebody_else_is_accepted_if_that_is_asked_for() -> None:
    assert cell(HALF, upstream=False).verdict is Verdict.FAIL
    one = cell(HALF, upstream=True)
    assert one.verdict is Verdict.KNOWN
    assert one.findings[0].known == Known(
        check="crash",
        entry=ENTRY,
        reason="a bug of mod_wsgi",
        link="wsgiproof explain finding-1",
    )
    assert exit_code([cell(NONE, upstream=True)]) is ExitCode.PASS, "nothing has to appear"


def test_what_the_catalog_does_not_call_a_bug_of_somebody_else_fails() -> None:
    assert cell(ANOTHER, upstream=True).verdict is Verdict.FAIL


def test_a_bug_of_the_subject_fails() -> None:
    assert "PyMongo" in {entry.whose for entry in RULES.entries}
    text = next(one for one in RULES.entries if one.whose == "PyMongo").examples[0]
    warned = msgspec.structs.replace(NONE, log=(*LOG, line(text)))
    one = cell(warned, upstream=True)
    assert one.verdict is Verdict.FAIL
    assert any(each.whose == "PyMongo" for each in one.findings[0].explained)


def test_a_part_that_nobody_else_is_to_blame_for_fails() -> None:
    """Of two kinds of failed requests, the catalog calls one a bug of psycopg2."""
    of_others = failure(body="psycopg2.ProgrammingError: can't adapt type 'decimal.Decimal'")
    own = failure(body="ModuleNotFoundError: No module named 'shop'", url="http://127.0.0.1/2")
    one = cell(msgspec.structs.replace(NONE, failures=(of_others,)), upstream=True)
    assert one.verdict is Verdict.KNOWN, one.findings
    one = cell(msgspec.structs.replace(NONE, failures=(of_others, own)), upstream=True)
    assert one.verdict is Verdict.FAIL


def test_a_crash_inside_an_extension_of_the_subject_is_the_subjects() -> None:
    library = f"{PYMONGO}/_cmessage.so"
    one = cell(msgspec.structs.replace(HALF, libraries=(library,)), upstream=True)
    assert one.verdict is Verdict.KNOWN
    from wsgiproof.judge.known import acknowledge

    inside = msgspec.structs.replace(one.findings[0], known=None, seen="in f (_cmessage.so)")
    seen = msgspec.structs.replace(HALF, libraries=(library,))
    (judged,) = acknowledge([inside], (), seen, RULES, upstream=True)
    assert judged.known is None


# Reports


def test_the_terminal_shows_reason_link_and_whose_bug_it_is() -> None:
    text = shown([cell(HALF, KNOWN)])
    assert f"accepted: threads run once more, a bug of mod_wsgi, {LINK}" in text
    assert "whose bug: mod_wsgi" in text
    assert (
        f"Known: crash, {ENTRY}, in 1 cell: threads run once more, a bug of mod_wsgi, {LINK}"
        in text
    )
    assert "Exit code 0: nothing was found but what is known and accepted." in text


def test_the_terminal_shows_what_is_gone_and_what_is_undecided() -> None:
    text = shown([cell(NONE, KNOWN)])
    assert (
        f"Known: crash, {ENTRY} no longer appears in 1 cell: remove it from wsgiproof.toml" in text
    )
    assert "Exit code 1: no cell failed, but what is known no longer appears." in text
    few = msgspec.structs.replace(FEW, plan=msgspec.structs.replace(FEW.plan, phases=()))
    text = shown([cell(few, KNOWN)])
    assert f"Known: crash, {ENTRY} not seen in 1 cell, but too few trials to tell" in text
    assert "Exit code 0: every check of every cell passed." in text


def test_what_fails_is_apart_from_what_is_known() -> None:
    """Both are crashes, with the same meaning and the same advice."""
    one = cell(HALF, KNOWN)
    new = Finding(
        check="crash",
        seen="another crash",
        meaning=one.findings[0].meaning,
        action=one.findings[0].action,
        explained=one.findings[0].explained,
    )
    both = msgspec.structs.replace(one, findings=(*one.findings, new), verdict=Verdict.FAIL)
    first, second = causes(both, RULES)
    assert (first.seen, first.accepted) == ("another crash", ())
    assert second.accepted == (f"threads run once more, a bug of mod_wsgi, {LINK}",)
    assert [
        bool(cause["accepted"]) for cause in overview(run_record(both), rules_of)["causes"]
    ] == [
        False,
        True,
    ]
    xml = to_junit(run_record(both)).decode()
    assert xml.count("<failure") == 1
    assert "known crash: 8 of 17 process ends crashed" in xml


def test_junit_skips_what_is_known_and_fails_what_is_gone() -> None:
    xml = to_junit(run_record(cell(HALF, KNOWN))).decode()
    assert '<skipped message="crash: threads run once more, a bug of mod_wsgi' in xml
    assert (xml.count("<failure"), xml.count("<testcase")) == (0, 1)
    xml = to_junit(run_record(cell(NONE, KNOWN))).decode()
    assert f'name="known: crash, {ENTRY}"' in xml
    assert f'<failure message="Known: crash, {ENTRY} no longer appears in 1 cell' in xml
    assert xml.count("<testcase") == 2
    xml = to_junit(run_record(cell(FEW, KNOWN))).decode()
    assert f'<skipped message="Known: crash, {ENTRY} not seen in 1 cell' in xml


def test_markdown_has_reason_and_link() -> None:
    text = to_markdown(run_record(cell(HALF, KNOWN)))
    assert text.startswith("## wsgiproof: 1 cell passed, 1 of them with known findings")
    assert "### crash (known): 1 cell" in text
    assert "  - whose bug: mod_wsgi" in text
    assert f"- accepted: threads run once more, a bug of mod_wsgi, <{LINK}>" in text
    gone = to_markdown(run_record(cell(NONE, KNOWN)))
    assert gone.startswith("## wsgiproof: none of 1 cell failed, but 1 known finding")
    assert "### Known, and not seen" in gone
    assert "no longer appears" in gone


def test_the_page_has_what_is_known() -> None:
    run = overview(run_record(cell(HALF, KNOWN)), rules_of)
    assert run["known"] == [
        f"Known: crash, {ENTRY}, in 1 cell: threads run once more, a bug of mod_wsgi, {LINK}"
    ]
    assert run["causes"][0]["accepted"].startswith("threads run once more")
    assert run["title"] == heading(run_record(cell(HALF, KNOWN)))


# From records: the command


def recorded(directory: Path, *cells: CellRecord) -> Path:
    """The output directory of a run with these cells."""
    for one in cells:
        place = directory / one.directory
        place.mkdir(parents=True)
        save(one, place / "cell.json")
    save(run_record(*cells).to_json(), directory / RESULTS)
    return directory


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, words)])


@pytest.mark.parametrize(
    ("seen", "code", "words"),
    [
        (HALF, 0, f"Known: crash, {ENTRY}, in 1 cell"),
        (NONE, 1, "no longer appears in 1 cell: remove it from wsgiproof.toml"),
        (ANOTHER, 1, "FAIL  "),
    ],
    ids=["known", "vanished", "another"],
)
@pytest.mark.parametrize("again", [[], ["--rejudge"]])
def test_show_says_what_the_run_said(
    tmp_path: Path, seen: Observed, code: int, words: str, again: list[str]
) -> None:
    result = command("show", recorded(tmp_path, cell(seen, KNOWN)), *again)
    assert (result.exit_code, words in result.output) == (code, True), result.output
    if again:
        assert "Each check of each cell has the verdict that was recorded." in result.output


def test_show_says_that_it_became_more_frequent(tmp_path: Path) -> None:
    table = msgspec.structs.replace(KNOWN, at_most=0.1)
    result = command("show", recorded(tmp_path, cell(HALF, table)), "--rejudge")
    assert result.exit_code == 1
    assert "but it is more frequent than that: at least 0.23 (95 %)" in result.output


def test_what_was_accepted_upstream_is_accepted_when_judged_again(tmp_path: Path) -> None:
    where = recorded(tmp_path, cell(HALF, upstream=True))
    result = command("show", where, "--rejudge")
    assert (result.exit_code, "accepted: a bug of mod_wsgi" in result.output) == (0, True)
    assert command("report", where).exit_code == 0


def test_a_merged_run_decides_over_all_of_its_cells(tmp_path: Path) -> None:
    """What a shard alone would call gone was seen in another one."""
    shards = [
        recorded(tmp_path / "1", cell(HALF, KNOWN)),
        recorded(tmp_path / "2", cell(NONE, KNOWN, python_name="19")),
    ]
    assert exit_code(load_run(shards[1]).cells) is ExitCode.FINDING
    merged = merge(shards, tmp_path / "whole").record
    assert exit_code(merged.cells) is ExitCode.PASS
    assert merged.to_json()["known"][0].state is KnownState.SEEN


def test_known_is_neither_better_nor_worse_than_a_pass() -> None:
    known, passed, failed = cell(HALF, KNOWN), cell(NONE), cell(HALF)
    for old, new, worse in (
        (passed, known, False),
        (known, passed, False),
        (failed, known, False),
        (known, failed, True),
    ):
        comparison = compare(run_record(old), run_record(new))
        assert [change.worse for change in comparison.changed] == [worse]


# The file

TABLE = f"""
[[known]]
check = "crash"
entry = "{ENTRY}"
cells = "*-daemon-*"
reason = "threads run once more"
link = "{LINK}"
until = {{ mod_wsgi = "6.2" }}
at_most = 0.8
"""


def loaded(directory: Path, text: str) -> Config:
    path = directory / "wsgiproof.toml"
    path.write_text(text)
    return combine(load(path), "", {})


def test_a_table_applies_to_its_cells_until_its_version(tmp_path: Path) -> None:
    config = loaded(tmp_path, TABLE)
    (known,) = config.known_in(CRASHING)
    assert type(known) is Known, "as it is read from a record"
    assert known == msgspec.structs.replace(
        KNOWN, cells=("*-daemon-*",), until={"mod_wsgi": "6.2"}, at_most=0.8
    )
    assert config.known_in(cell_with(CRASHING, mode="embedded")) == ()
    assert config.known_in(cell_with(CRASHING, mod_wsgi="6.10")) == ()
    assert config.known_in(cell_with(CRASHING, mod_wsgi="6.2")) == ()
    assert len(config.known_in(cell_with(CRASHING, mod_wsgi="6.2rc1"))) == 1
    assert len(config.known_in(cell_with(CRASHING, mod_wsgi="unknown"))) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('check = "crash"', 'check = "crsh"'), "no check 'crsh'; did you mean 'crash'?"),
        ((ENTRY, ENTRY[:-1]), f"in the catalog; did you mean '{ENTRY}'?"),
        ((f'entry = "{ENTRY}"', ""), "'crash' alone would accept whatever this check finds"),
        (('reason = "threads run once more"', ""), "there has to be a key 'reason' in 'known'"),
        (("threads run once more", " "), "'reason' is empty"),
        (("mod_wsgi =", "mod_wsgy ="), "no version of 'mod_wsgy'; did you mean 'mod_wsgi'?"),
        (("mod_wsgi =", "mode ="), "no version of 'mode'"),
        (('"6.2"', '"soon"'), "'soon' is not a version of 'mod_wsgi'"),
        (("0.8", "80"), "'at_most' is a probability, from 0 to 1, and not 80"),
        (('check = "crash"', 'check = "hang"'), "'at_most' is for the checks crash and shutdown"),
        (("reason =", "reasons ="), "no key 'reasons' in 'known'; did you mean 'reason'?"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_before_anything_starts(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    text = TABLE.replace(*change)
    assert text != TABLE
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["crsh", "crash"])
def test_the_command_ends_with_2(tmp_path: Path, name: str) -> None:
    path = tmp_path / "wsgiproof.toml"
    path.write_text(f'[[known]]\ncheck = "{name}"\nentry = "{ENTRY[1:]}"\nreason = "x"\n')
    words = [sys.executable, "-m", "wsgiproof", "run", "--config", str(path)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    meant = "crash" if name == "crsh" else ENTRY
    assert result.stderr.strip().endswith(f"did you mean '{meant}'?")
    assert len(result.stderr.splitlines()) == 1


def test_a_code_of_mod_wsgi_is_an_entry() -> None:
    assert KnownTable(check="error-log", entry="WSGI0008", reason="seen before").entry


def test_a_set_may_have_tables_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "wsgiproof.toml"
    path.write_text(f"{TABLE.replace('[[known]]', '[[sets.nightly.known]]')}")
    assert len(combine(load(path), "nightly", {}).known) == 1
    assert combine(load(path), "", {}).known == ()


# A run that is resumed


def test_cells_that_have_ended_are_judged_by_the_tables_of_now(tmp_path: Path) -> None:
    one = cell(HALF)
    place = tmp_path / one.directory
    place.mkdir(parents=True)
    save(one, place / "cell.json")
    asked = msgspec.structs.replace(job(0), cell=one.cell, inputs=one.inputs, known=(KNOWN,))
    for changed, verdict in (
        (asked, Verdict.KNOWN),
        (msgspec.structs.replace(asked, known=()), Verdict.FAIL),
        (msgspec.structs.replace(asked, known=(), accept_known_upstream=True), Verdict.KNOWN),
    ):
        (kept,), left = split([changed], tmp_path)
        assert (kept.verdict, left) == (verdict, [])
        assert read_directory(place) == kept
        assert [each.table for each in kept.known] == [*changed.known]
