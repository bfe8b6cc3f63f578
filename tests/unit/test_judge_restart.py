"""The checks of restarts, and of a server that is left alone."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.cells import CELL, cell_with
from tests.unit.factories import (
    BORN,
    ENDED,
    RULES,
    WORKER,
    born,
    counting,
    died,
    failure,
    memory_reading,
    observed,
    outcome,
    reading,
    sample,
)
from wsgiproof.judge.restart import more_restarts
from wsgiproof.judge.restart import restart as judge_restart
from wsgiproof.judge.verdict import judge
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.observed import Event, Observed, Phase, Restart, Role
from wsgiproof.records.plan import ExtraPhase

EMBEDDED = cell_with(CELL, mode=Mode.EMBEDDED)
OLD = 201
FAILS = {"restart": Verdict.FAIL}


def restart(**changes: Any) -> Restart:
    """One at which all went well."""
    one = Restart(
        phase="restart",
        time=27.0,
        seconds=0.4,
        replaced=(OLD,),
        leftover=(),
        begun=15,
        broken=0,
        requests=90,
        refused=0,
        last_refused=None,
        renewed=True,
        orphaned=0,
        parent_memory=400_000,
    )
    return msgspec.structs.replace(one, **changes)


def restarted(*restarts: Restart, **changes: Any) -> Observed:
    """A record with these restarts; one process was replaced and ended well."""
    plan = msgspec.structs.replace(observed().plan, phases=(ExtraPhase.RESTART, ExtraPhase.RELOAD))
    usual: dict[str, Any] = {
        "plan": plan,
        "restarts": restarts,
        "events": (*BORN, born(OLD, Role.WORKER), gone(exit=0), *ENDED),
    }
    return observed(**{**usual, **changes})


def gone(**how: Any) -> Event:
    """How the process ended that was replaced."""
    return died(OLD, phase="restart", **how)


def findings(seen: Observed, cell: Cell = CELL) -> list[Finding]:
    return [one for one in judge(cell, seen, RULES).findings if one.check == "restart"]


def test_a_restart_at_which_nothing_is_lost_passes() -> None:
    assert outcome(restarted(restart())) == {}


def test_the_check_is_there_only_where_it_was_asked_for() -> None:
    assert "restart" not in [one.check for one in judge(CELL, observed(), RULES).checks]


def test_no_restart_is_no_pass() -> None:
    assert outcome(restarted(events=(*BORN, *ENDED))) == {"restart": Verdict.INCONCLUSIVE}


def test_embedded_mode_has_no_process_to_reload() -> None:
    plan = msgspec.structs.replace(observed().plan, phases=(ExtraPhase.RELOAD,))
    assert judge_restart(EMBEDDED, observed(plan=plan)).skipped


def test_a_reload_that_embedded_mode_lacks_is_mentioned() -> None:
    (result,) = (
        one for one in judge(EMBEDDED, restarted(restart()), RULES).checks if one.check == "restart"
    )
    assert result.reason.endswith("; no reload: embedded mode reloads a script in the same process")
    (result,) = (
        one for one in judge(CELL, restarted(restart()), RULES).checks if one.check == "restart"
    )
    assert "no reload" not in result.reason


def test_a_request_that_had_begun_has_to_be_answered() -> None:
    seen = restarted(restart(broken=2), failures=(failure(phase="restart", count=2),))
    assert outcome(seen) == FAILS
    assert "2 of 15 requests that had begun" in findings(seen)[0].seen


@pytest.mark.parametrize(
    "changes",
    [{"refused": 9, "last_refused": 0.4}, {"refused": 300, "last_refused": 1.3}],
)
def test_daemon_mode_refuses_those_that_wait_while_it_is_replaced(changes: dict[str, Any]) -> None:
    seen = restarted(restart(**changes), failures=(failure(phase="restart", count=9),))
    assert outcome(seen) == {}
    (result,) = (one for one in judge(CELL, seen, RULES).checks if one.check == "restart")
    assert f"{changes['refused']} that waited for the daemon process were refused" in result.reason


def test_refusing_longer_than_that_is_a_finding() -> None:
    seen = restarted(restart(refused=9, last_refused=1.5))
    assert outcome(seen) == FAILS


def test_embedded_mode_refuses_none() -> None:
    seen = restarted(restart(refused=1, last_refused=0.1))
    assert judge_restart(EMBEDDED, seen).findings


def test_a_reload_refuses_none() -> None:
    assert outcome(restarted(restart(phase="reload", refused=1, last_refused=0.1))) == FAILS


def test_failures_of_other_phases_are_still_a_matter_of_responses() -> None:
    seen = restarted(restart(), failures=(failure(phase="serial"),))
    assert outcome(seen) == {"responses": Verdict.FAIL}


def test_requests_around_a_restart_are_not_said_to_have_all_been_answered() -> None:
    phases = (*observed().phases, Phase(name="restart", started=27.0, seconds=1.0, requests=80))
    seen = restarted(restart(refused=9, last_refused=0.1), phases=phases)
    (result,) = (one for one in judge(CELL, seen, RULES).checks if one.check == "responses")
    assert result.reason == "3,200 requests answered correctly"


def test_a_process_that_stays_is_a_finding() -> None:
    seen = restarted(restart(leftover=(OLD,), seconds=15.0))
    assert outcome(seen) == FAILS
    assert "1 replaced process still ran 15 seconds after" in findings(seen)[0].seen


def test_a_process_that_apache_had_to_kill_is_a_finding() -> None:
    seen = restarted(
        restart(seconds=3.1),
        events=(*BORN, born(OLD, Role.WORKER), gone(signal=signal.SIGKILL), *ENDED),
    )
    assert outcome(seen) == FAILS


@pytest.mark.parametrize(("waited", "verdict"), [(0.2, "fail"), (2.5, "inconclusive")])
def test_a_kill_proves_nothing_if_the_process_waited_for_a_processor(
    waited: float, verdict: str
) -> None:
    killed = gone(signal=signal.SIGKILL)
    seen = restarted(
        restart(seconds=3.1, processor_waits={OLD: waited}),
        events=(*BORN, born(OLD, Role.WORKER), killed, *ENDED),
    )
    assert outcome(seen) == {"restart": Verdict(verdict)}


def hurried(*others: Restart) -> Observed:
    """A restart in which a process was killed that had no time to end, and others."""
    killed = gone(signal=signal.SIGKILL)
    return restarted(
        restart(seconds=3.1, processor_waits={OLD: 2.5}),
        *others,
        events=(*BORN, born(OLD, Role.WORKER), killed, *ENDED),
    )


def test_a_restart_in_which_a_process_had_no_time_is_followed_by_another() -> None:
    good = restart(replaced=(OLD + 1,), time=31.0)
    assert more_restarts(hurried(), "restart") == 1
    assert more_restarts(hurried(good), "restart") == 0
    assert more_restarts(restarted(restart()), "restart") == 0
    assert more_restarts(restarted(), "restart") == 1
    assert more_restarts(hurried(good), "reload") == 1
    assert outcome(hurried(good)) == {}
    (result,) = [one for one in judge(CELL, hurried(good), RULES).checks if one.check == "restart"]
    assert result.reason.startswith(
        "1 restart: all replaced processes ended within 0.4 seconds; "
        "in 1 more, a process had no time to end; "
    )


def test_restarts_that_tell_nothing_come_to_an_end() -> None:
    again = restart(seconds=3.1, processor_waits={OLD: 2.5})
    assert more_restarts(hurried(again), "restart") == 1
    assert more_restarts(hurried(again, again), "restart") == 0
    assert outcome(hurried(again, again)) == {"restart": Verdict.INCONCLUSIVE}


def test_as_many_restarts_as_planned_have_to_tell() -> None:
    good = restart(replaced=(OLD + 1,), time=31.0)
    seen = hurried(good)
    two = msgspec.structs.replace(seen, plan=msgspec.structs.replace(seen.plan, restarts=2))
    assert more_restarts(two, "restart") == 1
    assert outcome(two) == {"restart": Verdict.INCONCLUSIVE}


def test_what_a_process_has_started_may_be_killed() -> None:
    helper = gone(signal=signal.SIGKILL, role=Role.HELPER)
    seen = restarted(restart(), events=(*BORN, born(OLD, Role.HELPER), helper, *ENDED))
    assert outcome(seen) == {}


def test_a_crash_while_it_is_replaced_is_a_crash() -> None:
    events = (*BORN, born(OLD, Role.WORKER), gone(signal=signal.SIGSEGV), *ENDED)
    assert outcome(restarted(restart(), events=events)) == {"crash": Verdict.FAIL}


def test_an_exit_code_is_a_crash_though_it_was_to_go() -> None:
    events = (*BORN, born(OLD, Role.WORKER), gone(exit=1), *ENDED)
    assert outcome(restarted(restart(), events=events)) == {"crash": Verdict.FAIL}


def test_one_that_nobody_replaced_may_not_end_meanwhile() -> None:
    events = (*BORN, died(WORKER, phase="restart", exit=0), gone(exit=0), *ENDED[1:])
    assert outcome(restarted(restart(), events=events)) == {"crash": Verdict.FAIL}


def test_apache_may_have_more_children_for_a_moment_than_it_keeps() -> None:
    events = (*BORN, died(WORKER, phase="restart", exit=0), gone(exit=0), *ENDED[1:])
    judged = judge(EMBEDDED, restarted(restart(), events=events), RULES)
    assert "crash" not in [one.check for one in judged.findings]


def test_what_we_kill_at_the_stop_was_not_killed_by_apache() -> None:
    late = died(OLD, phase="stop", signal=signal.SIGKILL)
    seen = restarted(
        restart(leftover=(OLD,), seconds=15.0), events=(*BORN, born(OLD, Role.WORKER), late, *ENDED)
    )
    assert not any("Apache killed" in one.seen for one in findings(seen))


def test_connections_that_nobody_has_are_a_finding() -> None:
    assert outcome(restarted(restart(orphaned=2))) == FAILS


def test_without_an_answer_of_those_that_came_it_is_undecided() -> None:
    assert outcome(restarted(restart(renewed=False))) == {"restart": Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("step", "verdict"), [(0, {}), (200, {}), (40_000, FAILS)], ids=["flat", "hardly", "grows"]
)
def test_the_parent_may_not_grow(step: int, verdict: dict[str, Verdict]) -> None:
    many = [restart(parent_memory=400_000 + step * number) for number in range(30)]
    assert outcome(restarted(*many)) == verdict


# idle


def quiet(counts: Sequence[int], name: str = "descriptors") -> Observed:
    """A record in which a count of the worker was so at each look."""
    plan = msgspec.structs.replace(observed().plan, phases=(ExtraPhase.IDLE,))
    readings = tuple(
        sample(number, [msgspec.structs.replace(reading(), **{name: value})])
        for number, value in enumerate(counts)
    )
    return observed(plan=plan, idle_samples=readings)


@pytest.mark.parametrize(
    "counts",
    [[38] * 7, [38, 39, 38, 39, 38, 39, 38], [38, 39, 39, 40, 40, 40, 40], [38, 20, 20, 20, 20]],
    ids=["constant", "up and down", "two steps", "fewer"],
)
def test_a_quiet_server_may_breathe(counts: list[int]) -> None:
    assert outcome(quiet(counts)) == {}


@pytest.mark.parametrize("name", ["descriptors", "threads", "connections"])
def test_what_goes_on_growing_is_a_finding(name: str) -> None:
    seen = quiet([20, 21, 21, 22, 24, 25, 26], name)
    assert outcome(seen) == {"idle": Verdict.FAIL}
    assert f"{name} of pid {WORKER} grew from 20 to 26" in judge(CELL, seen, RULES).findings[0].seen


def test_connections_that_the_deployment_counts_are_looked_at_too() -> None:
    seen = quiet([38] * 6)
    readings = tuple(
        counting(one, connections=28 + number) for number, one in enumerate(seen.idle_samples)
    )
    assert outcome(msgspec.structs.replace(seen, idle_samples=readings)) == {"idle": Verdict.FAIL}


def test_a_server_that_was_not_watched_is_no_pass() -> None:
    assert outcome(quiet([])) == {"idle": Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("field", ["resident", "mapped"])
def test_memory_that_grows_while_idle_is_a_finding(field: str) -> None:
    seen = quiet([38] * 7)
    readings = tuple(
        msgspec.structs.replace(
            one,
            memory=(memory_reading(**{field: 60_000_000 + 100_000 * number}),),
        )
        for number, one in enumerate(seen.idle_samples)
    )
    assert outcome(msgspec.structs.replace(seen, idle_samples=readings)) == {"idle": Verdict.FAIL}


@pytest.mark.parametrize(
    ("sizes", "verdict"),
    [
        # One sample of a process that grew by 80,000 bytes a second, in a real cell.
        ([40.70, 40.95, 41.46, 42.00, 42.55, 47.97, 43.61], {"idle": Verdict.FAIL}),
        ([40.7, 41.0, 41.3, 41.6], {"idle": Verdict.FAIL}),
        ([40.7, 41.0, 40.7, 41.0, 40.7, 41.0, 41.1], {}),
        ([40.7, 40.7, 40.7, 40.7, 40.7, 46.2, 41.1], {}),
    ],
)
def test_one_sample_does_not_hide_that_memory_grows(
    sizes: list[float], verdict: dict[str, Verdict]
) -> None:
    seen = quiet([38] * len(sizes))
    readings = tuple(
        msgspec.structs.replace(one, memory=(memory_reading(resident=int(size * 1e6)),))
        for size, one in zip(sizes, seen.idle_samples, strict=True)
    )
    assert outcome(msgspec.structs.replace(seen, idle_samples=readings)) == verdict


def test_a_few_pages_are_not() -> None:
    seen = quiet([38] * 7)
    readings = tuple(
        msgspec.structs.replace(one, memory=(memory_reading(resident=60_000_000 + 4096 * number),))
        for number, one in enumerate(seen.idle_samples)
    )
    assert outcome(msgspec.structs.replace(seen, idle_samples=readings)) == {}


def test_files_that_become_more_while_idle_are_a_finding() -> None:
    seen = quiet([38] * 7)
    readings = tuple(
        msgspec.structs.replace(one, counts=one.counts | {"files": number})
        for number, one in enumerate(seen.idle_samples)
    )
    assert outcome(msgspec.structs.replace(seen, idle_samples=readings)) == {"idle": Verdict.FAIL}
