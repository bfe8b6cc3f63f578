"""Going on with an audit: what is kept, what is refused, and that nothing recorded is lost."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from wsgiproof.audit.record import Record, Request, finished_in
from wsgiproof.cli.audit import KeptAudit, shown_if_interrupted
from wsgiproof.errors import UsageError
from wsgiproof.records.audit import (
    AUDIT,
    Attempt,
    Audit,
    Distribution,
    Environment,
    Outcome,
    Result,
    Tier,
)
from wsgiproof.records.cell import InterpreterKind
from wsgiproof.records.reading import load_audit
from wsgiproof.records.run import as_json

MAIN, SHARED, OWN = InterpreterKind.MAIN, InterpreterKind.SHARED_GIL, InterpreterKind.OWN_GIL
REQUEST = Request(
    requirements=("fast",),
    kinds=(SHARED,),
    jobs=2,
    timeout=60.0,
    leak_limit=16 << 20,
    trials=5,
    command="wsgiproof audit",
)
FAST = Distribution(name="fast", version="1.0", files="aa")
SLOW = Distribution(name="slow", version="2.0", files="bb")


def result(one: Distribution, kind: InterpreterKind = SHARED, **fields: Any) -> Result:
    made = Result(name=one.name, version=one.version, kind=kind, outcome=Outcome.WORKS)
    return msgspec.structs.replace(made, **fields)


def environment(*done: Distribution, python: str = "Python 3.11.2", **fields: Any) -> Environment:
    made = Environment(
        python=python,
        path="/p",
        kinds=(SHARED,),
        distributions=(FAST, SLOW),
        audited=("fast", "slow"),
        baseline={SHARED: ()},
        results=tuple(map(result, done)),
        control=tuple(result(one, MAIN) for one in done),
    )
    return msgspec.structs.replace(made, **fields)


def before(*environments: Environment, **changes: Any) -> Audit:
    made = msgspec.structs.replace(REQUEST.record(), environments=environments, seconds=10.0)
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"wsgiproof": "0"}, "the version of wsgiproof"),
        ({"requirements": ("fast", "more")}, "what is to be installed"),
        ({"env": "/srv/venv"}, "--env"),
        ({"pythons": ("3.11.2 /p",)}, "--python"),
        ({"kinds": (OWN,)}, "--interpreter"),
        ({"everything": True}, "--all"),
        ({"trials": 4}, "--trials"),
        ({"timeout": 61.0}, "--timeout"),
        ({"releases": 10}, "--find-working or --releases"),
    ],
)
def test_another_request_is_refused_by_the_name_of_its_option(
    changes: dict[str, Any], named: str
) -> None:
    saved: list[Audit] = []
    with pytest.raises(UsageError, match=f"can't be resumed: {named} is not what it was"):
        Record(REQUEST, saved.append, before(**changes))
    assert saved == []


def test_what_was_found_in_apache_is_not_lost() -> None:
    then = before(environment(FAST, SLOW, deep=(result(FAST, tier=Tier.DEEP),)))
    with pytest.raises(UsageError, match="its results of --deep would be lost"):
        Record(REQUEST, lambda _: None, then)


def test_a_record_without_its_baseline_is_refused() -> None:
    record = Record(REQUEST, lambda _: None, before(environment(FAST, baseline={})))
    with pytest.raises(UsageError, match="does not say what fails of the standard library"):
        record.before("Python 3.11.2", (FAST, SLOW))


def test_jobs_and_the_command_may_change() -> None:
    request = msgspec.structs.replace(REQUEST, jobs=1, command="wsgiproof audit --resume out")
    Record(request, lambda _: None, before())


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ((msgspec.structs.replace(FAST, version="1.1"), SLOW), "fast is 1.1 now, and was 1.0"),
        ((FAST,), "slow 2.0 is not installed any more"),
        ((FAST, SLOW, Distribution(name="more", version="3")), "more 3 was not installed"),
        ((FAST, msgspec.structs.replace(SLOW, files="cc")), "a file of slow 2.0 has changed"),
    ],
)
def test_another_environment_is_refused(installed: tuple[Distribution, ...], told: str) -> None:
    request = msgspec.structs.replace(REQUEST, requirements=(), env=Path("/srv/venv"))
    earlier = before(environment(FAST), requirements=(), env="/srv/venv")
    record = Record(request, lambda _: None, earlier)
    with pytest.raises(UsageError, match=f"the audit can't be resumed: {told}"):
        record.before("Python 3.11.2", installed)


def test_another_python_is_refused() -> None:
    record = Record(REQUEST, lambda _: None, before(environment(FAST)))
    with pytest.raises(UsageError, match=r"is Python 3\.13\.0 now, and was Python 3\.11\.2"):
        record.before("Python 3.13.0", (FAST, SLOW))


def test_of_an_environment_that_is_made_again_only_the_versions_count() -> None:
    earlier = environment(FAST)
    record = Record(REQUEST, lambda _: None, before(earlier))
    again = (msgspec.structs.replace(FAST, files="new"), SLOW)
    assert record.before("Python 3.11.2", again) == earlier


def test_what_was_tried_in_all_kinds_is_kept() -> None:
    both = environment(FAST, SLOW, kinds=(SHARED, OWN))
    both = msgspec.structs.replace(both, results=(*both.results, result(FAST, OWN)))
    assert finished_in(both, (SHARED, OWN)) == {
        ("fast", "1.0"): (result(FAST, MAIN), (result(FAST), result(FAST, OWN)))
    }
    assert finished_in(None, (SHARED,)) == {}


def test_what_a_fault_of_ours_left_open_is_tried_again() -> None:
    lost = result(SLOW, attempts=(Attempt(kind=SHARED, lost="its end was not seen"),))
    some = environment(FAST, SLOW, results=(result(FAST), lost))
    assert [*finished_in(some, (SHARED,))] == [("fast", "1.0")]


def test_the_record_is_whole_after_each_step_and_loses_nothing_that_was_there() -> None:
    saved: list[Audit] = []
    then = before(environment(FAST), environment(SLOW, python="Python 3.13.0"))
    record = Record(REQUEST, saved.append, then)
    record.begin(environment())
    record.update(control=(result(FAST, MAIN),))
    assert [one.python for one in saved[-1].environments] == ["Python 3.11.2", "Python 3.13.0"]
    assert saved[-1].environments[0].left == 1 and saved[-1].environments[1].left == 1
    assert not saved[-1].complete
    record.begin(environment(python="Python 3.13.0"))
    record.update(control=(result(FAST, MAIN), result(SLOW, MAIN)))
    done = record.finish()
    assert done == saved[-1] and done.complete
    assert (done.started, done.seconds >= 10.0) == (then.started, True)
    assert [one.left for one in done.environments] == [1, 0]


def test_an_audit_that_begins_has_a_record_at_once() -> None:
    saved: list[Audit] = []
    Record(REQUEST, saved.append, None)
    assert [one.complete for one in saved] == [False]


def test_a_record_is_read_back_and_anything_else_is_refused(tmp_path: Path) -> None:
    then = before(environment(FAST))
    with pytest.raises(UsageError, match=r"holds no audit: it has no audit\.json"):
        load_audit(tmp_path)
    with pytest.raises(UsageError, match="nowhere holds no audit: No such file or directory"):
        load_audit(tmp_path / "nowhere")
    (tmp_path / AUDIT).write_bytes(as_json(then))
    assert load_audit(tmp_path) == then
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    for content, told in (
        (as_json(msgspec.structs.replace(then, format=7)), "has format 7; this wsgiproof reads"),
        (b"{}", "is not the record of an audit"),
        (as_json(then)[:-9], "is not the record of an audit"),
    ):
        (tmp_path / AUDIT).write_bytes(content)
        with pytest.raises(UsageError, match=told):
            load_audit(tmp_path)
    (tmp_path / AUDIT).unlink()
    (tmp_path / AUDIT).symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="it is a symbolic link"):
        load_audit(tmp_path)


def test_what_an_interruption_kept_from_the_file_is_written_and_shown(tmp_path: Path) -> None:
    kept = KeptAudit(tmp_path / AUDIT)
    kept.save(before(environment(FAST)))
    output = StringIO()

    with (
        pytest.raises(KeyboardInterrupt),
        shown_if_interrupted(Console(file=output, width=80), kept),
    ):
        kept.record = before(environment(FAST, SLOW))  # the signal comes before it is written
        raise KeyboardInterrupt

    (written,) = load_audit(tmp_path).environments
    assert [one.name for one in written.control] == ["fast", "slow"]
    assert "Not tried" not in output.getvalue()
