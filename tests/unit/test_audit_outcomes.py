"""What an audit makes of what processes did: the outcome, whose fault it is, and the advice."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from wsgiproof.audit import processes
from wsgiproof.audit.exercises import exercises
from wsgiproof.audit.processes import Ended, Prober, attempt_of
from wsgiproof.errors import ExitCode, ServiceFailed
from wsgiproof.judge.audited import (
    STANDARD_LIBRARY,
    advise,
    exit_code,
    judge_distribution,
    owners,
)
from wsgiproof.process.service import Service
from wsgiproof.records.audit import (
    Attempt,
    Distribution,
    Environment,
    Failure,
    Outcome,
    Result,
    Snapshot,
    Stage,
    StandardFailure,
)
from wsgiproof.records.cell import InterpreterKind

MAIN, SHARED = InterpreterKind.MAIN, InterpreterKind.SHARED_GIL
PACKAGE = Distribution(
    name="fast", version="1.0", modules=("fast",), extensions=("fast._speed", "fast._more")
)
OTHER = Distribution(name="Other-One", version="2.0", modules=("other",))
MODULES = ("fast", "fast._speed", "other")
LEAK_LIMIT = 16 << 20


def attempt(kind: InterpreterKind = SHARED, **fields: Any) -> Attempt:
    """A process that ended well, unless the fields say more."""
    usual: dict[str, Any] = {"kind": kind, "exit": 0, "stage": Stage.FINISHED}
    return Attempt(**{**usual, **fields})


def snapshots(*of: int, **fields: Any) -> tuple[Snapshot, ...]:
    return tuple(Snapshot(interpreter=one, **{"modules": MODULES, **fields}) for one in of)


CONTROL = attempt(MAIN, snapshots=snapshots(0, standard=("datetime",)), values={"0": "1"})


def failure(interpreter: int, module: str = "fast", **fields: Any) -> Failure:
    usual: dict[str, Any] = {"stage": Stage.IMPORT, "error": "ImportError: no", "deepest": module}
    return Failure(interpreter=interpreter, module=module, **{**usual, **fields})


def judged(
    *attempts: Attempt,
    control: Sequence[Attempt] = (CONTROL,),
    baseline: Sequence[StandardFailure] = (),
) -> Result:
    owner = owners([PACKAGE, OTHER])
    return judge_distribution(
        PACKAGE,
        SHARED,
        attempts,
        control,
        baseline,
        owner,
        exercise=True,
        leak_limit=LEAK_LIMIT,
    )


GOOD = attempt(snapshots=snapshots(1, 2), values={"1": "1", "2": "1"})


def test_what_is_the_same_everywhere_works() -> None:
    found = judged(GOOD, GOOD)
    assert (found.outcome, found.reason, found.cause) == (Outcome.WORKS, "", "")
    assert found.exercised
    assert found.ends == "none of 2 process ends crashed: under 77.6 % each (95 %)"


def test_an_import_that_only_the_second_interpreter_refuses() -> None:
    swapped = attempt(swapped=True, failures=(failure(1),))
    found = judged(attempt(failures=(failure(2),)), swapped)
    assert found.outcome is Outcome.REFUSES
    assert found.reason == "fast can't be imported in the second sub interpreter: ImportError: no"
    assert found.cause == ""


def test_the_interpreters_are_counted_in_the_order_of_their_use() -> None:
    found = judged(attempt(failures=(failure(2),)), attempt(swapped=True, failures=(failure(2),)))
    assert "in the sub interpreters" in found.reason
    assert "in the first" in judged(attempt(failures=(failure(1),))).reason


def test_a_dependency_that_refuses_is_named() -> None:
    found = judged(attempt(failures=(failure(2, deepest="other.deep"),)))
    assert (found.outcome, found.cause) == (Outcome.REFUSES, "Other-One")


def test_a_module_of_the_standard_library_that_refuses_is_named() -> None:
    alone = StandardFailure(module="curses", error="ImportError: no", deepest="_curses")
    found = judged(attempt(failures=(failure(2, deepest="_curses"),)), baseline=[alone])
    assert found.cause == f"{STANDARD_LIBRARY} (_curses)"
    unnamed = msgspec.structs.replace(alone, deepest="")
    found = judged(attempt(failures=(failure(2, deepest=""),)), baseline=[unnamed])
    assert found.cause == ""


def test_an_exercise_that_fails_is_a_refusal() -> None:
    found = judged(attempt(failures=(failure(2, "", stage=Stage.EXERCISE),)))
    assert found.outcome is Outcome.REFUSES
    assert found.reason.startswith("its exercise fails in the second sub interpreter")


def test_an_extension_that_nothing_has_imported_before_is_a_refusal() -> None:
    found = judged(attempt(failures=(failure(2, "fast._more", stage=Stage.EXTENSION),)))
    assert found.outcome is Outcome.REFUSES and "fast._more can't" in found.reason


def test_a_silent_fallback_degrades_and_its_exception_is_told() -> None:
    less = snapshots(2, modules=("fast", "other"))
    hidden = failure(2, "fast._speed", stage=Stage.EXTENSION)
    found = judged(attempt(snapshots=(*snapshots(1), *less), failures=(hidden,)))
    assert found.outcome is Outcome.DEGRADES
    assert found.reason == "missing in the second sub interpreter: fast._speed"
    assert found.notes == ("the import of fast._speed raises ImportError: no",)


@pytest.mark.parametrize(
    ("main", "sub", "lost"),
    [
        ({"flags": {"fast.HAVE_C": "True"}}, {"flags": {"fast.HAVE_C": "False"}}, "fast.HAVE_C"),
        ({"things": ("fast.ssl",)}, {"nones": ("fast.ssl",)}, "fast.ssl"),
        ({"flags": {"fast.HAVE_C": "False"}}, {"flags": {"fast.HAVE_C": "True"}}, ""),
        ({"flags": {"fast.HAS_N": "'a'"}}, {"flags": {"fast.HAS_N": "'b'"}}, ""),
        ({"nones": ("fast.ssl",)}, {"nones": ("fast.ssl",)}, ""),
        ({"things": ("fast.ssl",)}, {}, ""),
        ({}, {"modules": (*MODULES, "fast.more")}, ""),
    ],
)
def test_only_what_gets_less_degrades(main: dict[str, Any], sub: dict[str, Any], lost: str) -> None:
    control = attempt(MAIN, snapshots=snapshots(0, **main))
    found = judged(attempt(snapshots=snapshots(1, 2, **sub)), control=[control])
    expected = f"missing in the sub interpreters: {lost}" if lost else ""
    assert (found.outcome, found.reason) == (
        Outcome.DEGRADES if lost else Outcome.WORKS,
        expected,
    )


def test_what_a_dependency_lacks_is_its_fault() -> None:
    found = judged(attempt(snapshots=snapshots(1, 2, modules=("fast", "fast._speed"))))
    assert (found.outcome, found.cause) == (Outcome.DEGRADES, "Other-One")


def test_what_is_missing_is_told_with_its_own_names() -> None:
    main = (*MODULES, "fast._speed.deep", "_made")
    control = attempt(MAIN, snapshots=snapshots(0, modules=main))
    found = judged(attempt(snapshots=snapshots(1, 2, modules=("fast",))), control=[control])
    assert found.reason == "missing in the sub interpreters: fast._speed, and 2 of what it needs"
    less = attempt(snapshots=snapshots(1, 2, modules=main[:-1]))
    found = judged(less, control=[control])
    assert (found.outcome, found.cause) == (Outcome.DEGRADES, "")
    assert found.reason == "missing in the sub interpreters: _made"


def test_another_result_is_wrong() -> None:
    found = judged(attempt(values={"1": "1", "2": "7"}))
    assert found.outcome is Outcome.WRONG
    assert (
        found.reason == "its exercise gives 7 in the second sub interpreter, and 1 in the main one"
    )


def test_a_crash_in_an_import_outweighs_an_exception() -> None:
    doing = "while it imported fast in sub interpreter 2"
    crash = attempt(exit=None, signal=11, stage=Stage.IMPORT, doing=doing, failures=(failure(1),))
    found = judged(GOOD, crash)
    assert found.outcome is Outcome.CRASHES
    assert found.reason == f"died of SIGSEGV (signal 11) {doing} (1 of 2 processes)"


def test_crashes_at_the_end_have_a_rate() -> None:
    crash = attempt(exit=None, signal=6, doing="at its end", snapshots=GOOD.snapshots)
    found = judged(GOOD, GOOD, GOOD, GOOD, crash)
    assert found.outcome is Outcome.CRASHES
    assert found.ends == "1 of 5 process ends crashed, 20 % (95 %: 1 to 72 %)"


def test_a_process_that_ends_itself_has_not_passed() -> None:
    quiet = attempt(stage=Stage.IMPORT, doing="while it imported fast in sub interpreter 1")
    found = judged(quiet)
    assert found.outcome is Outcome.CRASHES and "ended with exit code 0" in found.reason
    assert judged(attempt(exit=120, doing="at its end")).outcome is Outcome.CRASHES


def in_turn(*memory: float, **fields: Any) -> Attempt:
    """A process that ended four interpreters, with its memory after each in MiB."""
    seen = tuple(int(one * 2**20) for one in memory)
    usual = {"snapshots": snapshots(1), "values": {"1": "1"}, "in_turn": 4, "memory": seen}
    return attempt(**{**usual, **fields})


def test_memory_that_each_interpreter_leaves_is_a_leak() -> None:
    found = judged(GOOD, in_turn(30, 50, 66, 90))
    assert found.outcome is Outcome.LEAKS
    assert found.reason == (
        "each interpreter that ends leaves 16.0 MiB of memory (4 were made and ended in turn)"
    )
    assert found.notes == ()


@pytest.mark.parametrize(
    ("memory", "notes"),
    [
        ((30, 90, 90.5, 91), ()),  # the second still fills caches
        ((30, 50, 90, 90), ()),  # one that leaves nothing
        ((30, 32, 36, 40), ("each interpreter that ends leaves 4.0 MiB of memory",)),
    ],
)
def test_memory_that_does_not_grow_each_time_is_none(
    memory: Sequence[float], notes: tuple[str, ...]
) -> None:
    found = judged(GOOD, in_turn(*memory))
    assert (found.outcome, found.notes) == (Outcome.WORKS, notes)


def test_memory_that_was_not_seen_is_no_pass() -> None:
    found = judged(GOOD, in_turn(30, 50, 66))
    assert (found.outcome, found.reason) == (
        Outcome.UNKNOWN,
        "what its interpreters leave in memory when they end was not seen",
    )


@pytest.mark.parametrize(
    ("process", "told"),
    [
        (in_turn(30, 30, 30, 30, failures=(failure(1),)), "fast raises ImportError: no"),
        (
            in_turn(30, exit=None, signal=11, stage=Stage.ENDING, doing="while it ended"),
            "died of SIGSEGV (signal 11) while it ended",
        ),
    ],
)
def test_what_fails_only_where_others_have_ended_is_noted(process: Attempt, told: str) -> None:
    """mod_wsgi makes no interpreter after one has ended."""
    found = judged(GOOD, process)
    assert found.outcome is Outcome.WORKS
    assert found.notes == (
        f"where interpreters are made and end in turn, which mod_wsgi does not do: {told}",
    )
    assert found.ends.startswith("none of 1 process end")


def test_what_our_limit_ended_is_no_pass() -> None:
    over = {"exit": None, "signal": 9, "over": "2 GiB of memory", "stage": Stage.ENDING}
    assert judged(GOOD, in_turn(30, **over)).outcome is Outcome.UNKNOWN
    assert judged(GOOD, in_turn(30, 700, 1370, **over)).outcome is Outcome.LEAKS


def test_an_end_in_an_import_of_ours_is_not_the_packages() -> None:
    doing = "while wsgiproof imported numpy in sub interpreter 2, which it had not imported"
    crash = attempt(exit=None, signal=11, stage=Stage.DEPENDENCY, doing=doing)
    found = judged(crash)
    assert (found.outcome, doing in found.reason) == (Outcome.UNKNOWN, True)


def test_what_fails_in_the_main_interpreter_too_is_not_noted_again() -> None:
    known = failure(0, "fast._more", stage=Stage.EXTENSION)
    main = attempt(MAIN, snapshots=CONTROL.snapshots, values={"0": "1"}, failures=(known,))
    other = in_turn(30, 30, 30, 30, failures=(failure(1, "fast._more", stage=Stage.EXTENSION),))
    assert not [note for note in judged(GOOD, other, control=[main]).notes if "in turn" in note]


def test_a_hang() -> None:
    hang = attempt(exit=None, hung=True, seconds=60.0, stage=Stage.IMPORT, doing="while ...")
    assert judged(hang).outcome is Outcome.HANGS
    assert "still running after 60 s" in judged(hang).reason


@pytest.mark.parametrize(
    "fields",
    [
        {"exit": None, "over": "2 GiB of memory", "stage": Stage.IMPORT},
        {"exit": None, "signal": 9, "stage": Stage.IMPORT},
        {"exit": None, "signal": 24, "stage": Stage.IMPORT},
        {"lost": "a probe: its guard is gone"},
    ],
)
def test_what_our_limits_or_others_ended_is_unknown(fields: dict[str, Any]) -> None:
    assert judged(GOOD, attempt(**fields)).outcome is Outcome.UNKNOWN


def test_what_fails_in_main_is_not_blamed_on_interpreters() -> None:
    broken = attempt(MAIN, failures=(failure(0, error="ImportError: libpq.so.5"),))
    found = judged(attempt(failures=(failure(1), failure(2))), control=[broken])
    assert (found.outcome, found.reason) == (
        Outcome.UNKNOWN,
        "fails in main too: ImportError: libpq.so.5",
    )
    crash = attempt(MAIN, exit=None, signal=11, doing="at its end")
    found = judged(GOOD, control=[CONTROL, crash])
    assert found.reason == "fails in main too: died of SIGSEGV (signal 11) at its end"


def test_an_exercise_that_fails_in_main_leaves_the_import_alone() -> None:
    control = msgspec.structs.replace(
        CONTROL, failures=(failure(0, "", stage=Stage.EXERCISE),), values={}
    )
    found = judged(
        attempt(snapshots=snapshots(1, 2), failures=(failure(1, "", stage=Stage.EXERCISE),)),
        control=[control],
    )
    assert (found.outcome, found.exercised) == (Outcome.WORKS, False)
    assert found.notes == ("the exercise fails in the main interpreter: ImportError: no",)


def test_a_crash_of_the_standard_library_alone_is_not_the_packages() -> None:
    alone = StandardFailure(module="datetime", error="died", ends_process=True)
    crash = attempt(exit=None, signal=11, stage=Stage.ENDING, doing="while ...")
    found = judged(crash, baseline=[alone])
    assert (found.outcome, found.cause) == (Outcome.UNKNOWN, STANDARD_LIBRARY)
    assert "datetime alone does so" in found.reason
    # Nor does it hide what is the package's.
    found = judged(msgspec.structs.replace(crash, failures=(failure(2),)), baseline=[alone])
    assert (found.outcome, found.cause) == (Outcome.REFUSES, "")
    # Another module of it has nothing to do with this package.
    unused = msgspec.structs.replace(alone, module="sqlite3")
    assert judged(crash, baseline=[unused]).outcome is Outcome.CRASHES


def test_an_interpreter_that_was_not_ended_has_not_passed() -> None:
    busy = attempt(stage=Stage.ENDING, threads=("pool",), snapshots=GOOD.snapshots)
    found = judged(busy)
    assert found.outcome is Outcome.UNKNOWN and found.reason.endswith("can't be ended then: pool")
    assert found.ends == ""
    # It is no excuse for a crash, or for what it refuses.
    crash = msgspec.structs.replace(busy, exit=None, signal=11)
    assert judged(crash).outcome is Outcome.CRASHES
    refuses = msgspec.structs.replace(busy, failures=(failure(2),))
    assert judged(refuses).outcome is Outcome.REFUSES


FREE = InterpreterKind.FREE_THREADED
ENABLED = (
    "RuntimeWarning: The global interpreter lock (GIL) has been enabled to load module "
    "'{}', which has not declared that it can run safely without the GIL."
)


def without_gil(*attempts: Attempt) -> Result:
    owner = owners([PACKAGE, OTHER])
    return judge_distribution(
        PACKAGE, FREE, attempts, [CONTROL], (), owner, exercise=True, leak_limit=16 << 20
    )


def test_an_import_that_turns_the_gil_on_takes_it() -> None:
    off = {"1": False, "2": False}
    good = msgspec.structs.replace(GOOD, kind=FREE, gil=off)
    assert without_gil(good).outcome is Outcome.WORKS
    said = snapshots(1, warnings=(ENABLED.format("fast._speed"),))
    taken = msgspec.structs.replace(good, gil={"1": True, "2": True}, snapshots=said)
    found = without_gil(good, taken)
    assert (found.outcome, found.cause) == (Outcome.TAKES_GIL, "")
    assert found.reason == (
        "the GIL is turned on in the sub interpreters by the import of fast._speed"
    )
    said = snapshots(1, warnings=(ENABLED.format("other"),))
    other = msgspec.structs.replace(taken, snapshots=said)
    assert without_gil(other).cause == "Other-One"
    # In other kinds there is always one.
    assert judged(msgspec.structs.replace(taken, kind=SHARED)).outcome is Outcome.WORKS


def test_where_nobody_says_whether_the_gil_is_on_nothing_works() -> None:
    unsaid = msgspec.structs.replace(GOOD, kind=FREE)
    found = without_gil(unsaid)
    assert found.outcome is Outcome.UNKNOWN and "does not say" in found.reason


def test_the_claim_of_the_gil_is_read() -> None:
    written = b'{"claim":"gil","gil":false,"interpreter":1}\n{"claim":"gil","interpreter":2}\n'
    assert attempt_of(ended(written), FREE).gil == {"1": False, "2": True}


@pytest.mark.parametrize("enabled", [False, True])
def test_the_probe_says_whether_the_gil_is_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, enabled: bool
) -> None:
    probe: Any = importlib.import_module("wsgiproof.audit.probe")
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    job = {
        "first": [],
        "expected": [],
        "modules": ["json"],
        "extensions": [],
        "exercise": "",
        "swap": False,
    }
    with (tmp_path / "claims").open("wb") as file:
        probe.inside(job, file.fileno(), 0)
    attempt = attempt_of(ended((tmp_path / "claims").read_bytes()), FREE)
    assert attempt.gil == {"0": enabled}


def test_an_extension_that_main_cannot_import_alone_is_no_failure_of_main() -> None:
    alone = attempt(MAIN, failures=(failure(0, "fast._more", stage=Stage.EXTENSION),))
    owner = owners([PACKAGE])
    found = judge_distribution(
        PACKAGE, MAIN, [alone], (), (), owner, exercise=False, leak_limit=16 << 20
    )
    assert found.outcome is Outcome.WORKS
    assert found.notes == (
        "not judged, since the main interpreter can't import them alone: fast._more",
    )
    import_fails = attempt(MAIN, failures=(failure(0),))
    found = judge_distribution(
        PACKAGE, MAIN, [import_fails], (), (), owner, exercise=False, leak_limit=16 << 20
    )
    assert found.outcome is Outcome.REFUSES


def test_missing_evidence_is_never_a_pass() -> None:
    assert judged().outcome is Outcome.UNKNOWN
    empty = Distribution(name="empty", version="1")
    owner = owners([])
    found = judge_distribution(
        empty, SHARED, [GOOD], [CONTROL], (), owner, exercise=False, leak_limit=16 << 20
    )
    assert found.outcome is Outcome.UNKNOWN
    two = attempt(MAIN, failures=(failure(0, "fast.other"),), snapshots=CONTROL.snapshots)
    assert judged(GOOD, control=[two]).outcome is Outcome.UNKNOWN


# what was written


def ended(written: bytes, **fields: Any) -> Ended:
    return Ended(**{"seconds": 1.0, "exit": 0, "written": written, **fields})


def test_the_last_claim_says_what_a_process_was_doing() -> None:
    written = (
        b'{"claim":"begin","stage":"start"}\n'
        b'{"claim":"begin","stage":"import","module":"a.b","interpreter":2}\n'
    )
    found = attempt_of(ended(written, exit=None, signal=11), SHARED)
    assert (found.stage, found.doing) == (
        Stage.IMPORT,
        "while it imported a.b in sub interpreter 2",
    )


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"claim":"begin","stage":"import","interpreter":7}',
        b'{"claim":"failed","stage":["import"]}',
        b'{"claim":7}',
        b"",
    ],
)
def test_after_a_line_that_is_no_claim_nothing_counts(line: bytes) -> None:
    found = attempt_of(ended(line + b'\n{"claim":"finished"}\n'), SHARED)
    assert found.stage is Stage.START
    assert judged(found).outcome is Outcome.CRASHES


def test_a_stage_that_does_not_exist_is_left_out() -> None:
    written = b'{"claim":"begin","stage":"lunch"}\n{"claim":"failed","stage":"lunch"}\n'
    found = attempt_of(ended(written), SHARED)
    assert (found.stage, found.failures) == (Stage.START, ())


# advice and the exit code


def result(name: str, outcome: Outcome, kind: InterpreterKind = SHARED) -> Result:
    return Result(name=name, version="1", kind=kind, outcome=outcome)


def test_the_advice_names_what_breaks_and_rests_on_the_control() -> None:
    results = [result("a", Outcome.REFUSES), result("b", Outcome.WORKS)]
    control = [result("a", Outcome.WORKS, MAIN), result("b", Outcome.WORKS, MAIN)]
    told = advise(results, control, SHARED)
    assert told.startswith("1 package of 2 breaks under shared-gil: a. 'WSGIApplicationGroup %{GL")
    assert told.endswith("each of them was tried in the main interpreter, and works.")
    control[1] = result("b", Outcome.CRASHES, MAIN)
    assert "not all work there: b did not" in advise(results, control, SHARED)


def test_no_advice_where_nothing_breaks() -> None:
    works = [result("a", Outcome.WORKS)]
    assert advise(works, (), SHARED) == "Nothing that was tried breaks under shared-gil."
    unknown = [result("a", Outcome.UNKNOWN)]
    assert advise(unknown, (), SHARED) == "Not known under shared-gil: a."
    assert "GLOBAL" not in advise([result("a", Outcome.CRASHES, MAIN)], (), MAIN)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome.WORKS, Outcome.WORKS], ExitCode.PASS),
        ([Outcome.WORKS, Outcome.UNKNOWN], ExitCode.UNDECIDED),
        ([Outcome.NOT_INSTALLABLE], ExitCode.UNDECIDED),
        ([Outcome.UNKNOWN, Outcome.DEGRADES], ExitCode.FINDING),
        ([], ExitCode.UNDECIDED),
    ],
)
def test_the_exit_code(outcomes: list[Outcome], code: ExitCode) -> None:
    results = tuple(result("a", one) for one in outcomes)
    environment = Environment(python="Python 3.11.2", path="/p", kinds=(SHARED,), results=results)
    assert exit_code([environment]) is code


def test_every_exercise_is_python_with_a_value() -> None:
    for name, code in exercises().items():
        names = compile(code, name, "exec").co_names
        assert "value" in names, name


class _Running:
    """A process that goes on, as far as a prober looks at it."""

    def wait(self, seconds: float) -> bool:
        return False

    def ended(self) -> None:
        return None

    def living(self) -> dict[int, str]:
        return {os.getpid(): "probe"}


@pytest.mark.parametrize(("waited", "busy"), [(0.4, False), (0.6, True)])
def test_a_process_that_waited_for_a_processor_is_not_said_to_hang(
    monkeypatch: pytest.MonkeyPatch, waited: float, busy: bool
) -> None:
    monkeypatch.setattr(processes, "processor_waits", lambda pid: {"1": 0.1, "2": waited})
    prober = Prober(python=Path("python"), timeout=1.0)
    running = cast(Service, _Running())
    if busy:
        with pytest.raises(ServiceFailed, match="the machine was too busy"):
            prober._wait(running, 0.0)
    else:
        assert prober._wait(running, 0.0) == (None, "")
