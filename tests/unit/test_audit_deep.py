"""The deep tier of an audit: its application, and what the verdict on a cell says of a package."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import failure, observed, record
from wsgiproof.audit.searcher import on_the_index
from wsgiproof.errors import CannotRun, ExitCode
from wsgiproof.judge.audited import exit_code, judge_distribution, owners
from wsgiproof.judge.deep import SERVER_ALONE, advise_deep, agreement, judge_cell
from wsgiproof.records.audit import (
    Attempt,
    Audit,
    Distribution,
    Environment,
    Outcome,
    Result,
    Snapshot,
    Stage,
    Tier,
)
from wsgiproof.records.cell import InterpreterKind
from wsgiproof.records.judgement import CheckResult, Finding, Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.run.deep import _app, pythons_of

MAIN, SHARED = InterpreterKind.MAIN, InterpreterKind.SHARED_GIL
PACKAGE = Distribution(name="fast", version="1.0", modules=("fast",), extensions=("fast._speed",))
probe: Any = importlib.import_module("wsgiproof.audit.probe")


def found(*checks: str, **changes: Any) -> CellRecord:
    """The record of a cell with a finding of each of these checks."""
    findings = tuple(
        Finding(check=check, seen=f"{check} was seen", meaning="", action="") for check in checks
    )
    return record(CELL_SEEN, findings=findings, verdict=Verdict.FAIL, **changes)


CELL_SEEN = observed()


def told(cell: CellRecord, **controls: CellRecord) -> Result:
    return judge_cell(PACKAGE, cell, exercised=True, **controls)


def answered(body: str) -> CellRecord:
    return record(observed(failures=(failure(kind="invalid body", status=200, body=body),)))


def test_a_pass_works_and_says_on_how_many_ends_that_rests() -> None:
    cell = record(CELL_SEEN)
    assert cell.verdict is Verdict.PASS
    result = told(cell)
    assert (result.outcome, result.reason, result.tier) == (Outcome.WORKS, "", Tier.DEEP)
    assert "ended, none by a crash" in result.ends
    assert result.cell == f"cells/{CELL.id}"


@pytest.mark.parametrize(
    ("checks", "outcome"),
    [
        (["crash"], Outcome.CRASHES),
        (["memory", "error-log", "crash"], Outcome.CRASHES),
        (["hang", "crash"], Outcome.CRASHES),
        (["hang"], Outcome.HANGS),
        (["shutdown"], Outcome.HANGS),
        (["memory"], Outcome.LEAKS),
        (["descriptors"], Outcome.LEAKS),
        (["files"], Outcome.LEAKS),
        (["latency"], Outcome.UNKNOWN),
        (["environment"], Outcome.UNKNOWN),
    ],
)
def test_a_finding_gives_the_outcome_and_all_are_kept(checks: list[str], outcome: Outcome) -> None:
    result = told(found(*checks))
    assert result.outcome is outcome
    assert [one.check for one in result.findings] == checks
    first = result.reason.partition(":")[0]
    assert first in checks and f"{first} was seen" in result.reason
    assert {note.partition(":")[0] for note in result.notes} == {*checks} - {first}


def test_an_exception_in_a_request_is_a_refusal() -> None:
    result = told(record(observed(failures=(failure(),))))
    assert result.outcome is Outcome.REFUSES
    assert "3 x status 500" in result.reason
    assert not [note for note in result.notes if note.startswith("error-log")]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("degrades: missing fast._speed", Outcome.DEGRADES),
        ("wrong: its exercise gives 2, and 1 in main", Outcome.WRONG),
        ("refuses: fast._speed can't be imported", Outcome.REFUSES),
        ("crashes: or so it says", Outcome.UNKNOWN),
        ("", Outcome.UNKNOWN),
    ],
)
def test_an_answer_says_what_is_wrong(body: str, outcome: Outcome) -> None:
    result = told(answered(body))
    assert result.outcome is outcome
    assert outcome is Outcome.UNKNOWN or result.reason.startswith(body.partition(": ")[2])


def test_what_was_not_decided_is_unknown() -> None:
    undecided = CheckResult(check="memory", verdict=Verdict.INCONCLUSIVE, reason="too few requests")
    cell = record(CELL_SEEN, verdict=Verdict.INCONCLUSIVE, checks=(undecided,))
    assert told(cell).outcome is Outcome.UNKNOWN
    assert told(cell).reason == "memory is not decided: too few requests"
    error = record(CELL_SEEN, verdict=Verdict.ERROR, reason="Apache did not start", checks=())
    assert (told(error).outcome, told(error).reason) == (Outcome.UNKNOWN, "Apache did not start")


def test_what_the_controls_do_too_is_not_blamed_on_the_package_or_the_kind() -> None:
    alone = told(found("crash"), alone=found("crash"), main=record(CELL_SEEN))
    assert (alone.outcome, alone.cause) == (Outcome.UNKNOWN, SERVER_ALONE)
    main = told(found("memory"), alone=record(CELL_SEEN), main=found("memory"))
    assert (main.outcome, main.cause) == (Outcome.UNKNOWN, "")
    assert main.reason == "fails in main too: memory: memory was seen"
    other = told(found("crash"), alone=found("memory"), main=found("hang"))
    assert other.outcome is Outcome.CRASHES


# both tiers


def result(name: str, outcome: Outcome, tier: Tier = Tier.FAST) -> Result:
    return Result(name=name, version="1", kind=SHARED, outcome=outcome, tier=tier)


def both(**outcomes: tuple[Outcome, Outcome]) -> Environment:
    results = tuple(result(name, fast) for name, (fast, _) in outcomes.items())
    deep = tuple(result(name, one, Tier.DEEP) for name, (_, one) in outcomes.items())
    return Environment(
        python="Python 3.11.2",
        path="/p",
        kinds=(SHARED,),
        results=results,
        deep=deep,
        agreement=agreement(results, deep),
    )


def test_the_agreement_says_nothing_where_a_tier_does_not_know() -> None:
    environment = both(
        a=(Outcome.WORKS, Outcome.WORKS),
        b=(Outcome.REFUSES, Outcome.CRASHES),
        c=(Outcome.UNKNOWN, Outcome.WORKS),
    )
    assert [(one.name, one.agree) for one in environment.agreement] == [
        ("a", True),
        ("b", False),
        ("c", None),
    ]
    advice = advise_deep(environment, SHARED)
    assert advice.startswith("In real Apache under shared-gil, 1 of 3 packages breaks: b. ")
    assert advice.endswith("Both tiers agree on 1 of 2 packages, and not on b.")
    assert advise_deep(environment, MAIN) == ""


def test_the_advice_on_the_main_interpreter_rests_on_apache() -> None:
    environment = both(a=(Outcome.WORKS, Outcome.LEAKS), b=(Outcome.REFUSES, Outcome.REFUSES))
    assert "GLOBAL" not in advise_deep(environment, SHARED)

    def with_main(*outcomes: Outcome) -> str:
        control = tuple(
            msgspec.structs.replace(one, kind=MAIN, outcome=outcome)
            for one, outcome in zip(environment.deep, outcomes, strict=False)
        )
        return advise_deep(msgspec.structs.replace(environment, deep_control=control), SHARED)

    assert "%{GLOBAL}', each of them was tried there, and works." in with_main(
        Outcome.WORKS, Outcome.WORKS
    )
    assert "not all of them work there: b did not" in with_main(Outcome.WORKS, Outcome.CRASHES)
    assert "GLOBAL" not in with_main(Outcome.WORKS)


def test_what_only_one_tier_finds_decides_the_exit_code() -> None:
    assert exit_code([both(a=(Outcome.WORKS, Outcome.WORKS))]) is ExitCode.PASS
    assert exit_code([both(a=(Outcome.WORKS, Outcome.LEAKS))]) is ExitCode.FINDING
    assert exit_code([both(a=(Outcome.REFUSES, Outcome.WORKS))]) is ExitCode.FINDING
    assert exit_code([both(a=(Outcome.WORKS, Outcome.UNKNOWN))]) is ExitCode.UNDECIDED


# what metadata and an environment may say of themselves


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../../x", "a/b", "a\nb", "x" * 300, "\udcff"])
def test_no_name_of_a_distribution_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    path = _app(tmp_path, name)
    assert path.parent == tmp_path and path.name.startswith("package-")
    assert _app(tmp_path, "Zope.Interface").name == "zope-interface.py"


@pytest.mark.parametrize("version", ["/tmp/evil/python", "python3", "3.11", "3.11.2\n"])
def test_only_a_version_names_the_python_of_an_environment(version: str) -> None:
    environment = msgspec.structs.replace(both(), python=f"Python {version}")
    audit = Audit(
        wsgiproof="1",
        command="",
        started=0.0,
        seconds=0.0,
        trials=1,
        timeout=1.0,
        leak_limit=16 << 20,
        environments=(environment,),
    )
    with pytest.raises(CannotRun, match="is not the version of a Python"):
        pythons_of(audit)


@pytest.mark.parametrize(
    ("name", "version", "asked"),
    [
        ("bcrypt", "5.0.0", True),
        ("zope.interface", "1!2.0+local", True),
        ("--index-url=http://x", "1.0", False),
        ("a\n-r /etc/passwd", "1.0", False),
        ("a", "1.0\n--pre", False),
        ("a", "-1", False),
    ],
)
def test_the_index_is_asked_only_for_what_can_be_a_name(
    name: str, version: str, asked: bool
) -> None:
    one = Result(name=name, version=version, kind=SHARED, outcome=Outcome.REFUSES)
    assert on_the_index(one) is asked


# the application

NOTHING: dict[str, Any] = {"modules": (), "flags": {}, "things": (), "nones": ()}


def job(**changes: Any) -> dict[str, Any]:
    usual = {
        "modules": [],
        "extensions": [],
        "exercise": "value = 1",
        "value": "1",
        "main": NOTHING,
    }
    return {**usual, **changes}


def answer(asked: dict[str, Any]) -> tuple[str, bytes]:
    """The status and the body of the application's answer to one request."""
    application = probe.served(json.loads(json.dumps(asked)))
    statuses: list[str] = []
    (body,) = application({}, lambda status, headers: statuses.append(status))
    return statuses[0], body


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)

    return make


def test_the_application_answers_what_it_finds(package: Callable[[str, str], None]) -> None:
    package("wp_planted", "HAVE_SPEED = False\nssl = None\n")
    modules = ["wp_planted"]
    assert answer(job(modules=modules)) == ("200 OK", b"works")
    assert answer(job(value="2"))[1] == b"wrong: its exercise gives 1, and 2 in main"
    assert answer(job(exercise="", value=None))[1] == b"works"
    main = {**NOTHING, "modules": ["wp_planted", "wp_gone", "wp_gone.deep"]}
    assert answer(job(modules=modules, main=main))[1] == b"degrades: missing wp_gone"
    flags = {**NOTHING, "flags": {"wp_planted.HAVE_SPEED": "True"}, "things": ["wp_planted.ssl"]}
    body = b"degrades: missing wp_planted.HAVE_SPEED, wp_planted.ssl"
    assert answer(job(modules=modules, main=flags))[1] == body
    refused = answer(job(extensions=["wp_not_there"]))[1]
    assert refused.startswith(b"refuses: wp_not_there can't be imported: ModuleNotFoundError")


def test_the_application_raises_what_an_import_or_the_exercise_raises(
    package: Callable[[str, str], None],
) -> None:
    package("wp_broken", "raise ImportError('one interpreter only')")
    with pytest.raises(ImportError, match="one interpreter only"):
        answer(job(modules=["wp_broken"]))
    with pytest.raises(ZeroDivisionError):
        answer(job(exercise="1 / 0"))


@pytest.mark.parametrize(
    ("main", "here"),
    [
        ({"modules": ("a", "a.b", "c")}, {"modules": ("c",)}),
        ({"modules": ("a",)}, {"modules": ("a", "more")}),
        ({"flags": {"a.HAVE_C": "True"}}, {"flags": {"a.HAVE_C": "False"}}),
        ({"flags": {"a.HAVE_C": "False"}}, {"flags": {"a.HAVE_C": "True"}}),
        ({"things": ("a.ssl",)}, {"nones": ("a.ssl",)}),
        ({"things": ("a.ssl",)}, {}),
        ({"modules": ("a",), "things": ("b.ssl",)}, {"nones": ("b.ssl",)}),
    ],
)
def test_the_application_misses_what_the_judge_of_the_fast_tier_misses(
    main: dict[str, Any], here: dict[str, Any]
) -> None:
    def attempt(kind: InterpreterKind, interpreter: int, fields: dict[str, Any]) -> Attempt:
        seen = Snapshot(interpreter=interpreter, **fields)
        return Attempt(kind=kind, exit=0, stage=Stage.FINISHED, snapshots=(seen,))

    judged = judge_distribution(
        PACKAGE,
        SHARED,
        [attempt(SHARED, 1, here)],
        [attempt(MAIN, 0, main)],
        (),
        owners([]),
        exercise=False,
        leak_limit=16 << 20,
    )
    missing = probe.lost({**NOTHING, **main}, {**NOTHING, **here})
    expected = judged.reason.partition(": ")[2]
    assert ", ".join(missing) == expected
    assert bool(missing) == (judged.outcome is Outcome.DEGRADES)


def test_a_result_can_be_saved_and_read() -> None:
    environment = both(a=(Outcome.WORKS, Outcome.LEAKS))
    assert msgspec.json.decode(msgspec.json.encode(environment), type=Environment) == environment
