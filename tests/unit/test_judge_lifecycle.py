"""The checks of life and death."""

from __future__ import annotations

import signal
from typing import Any

import msgspec
import pytest

from tests.cells import CELL, cell_with
from tests.unit.factories import (
    BORN,
    ENDED,
    FRONTEND,
    FRONTEND_ENDED,
    LOG,
    PARENT_ENDED,
    RULES,
    URLS,
    WORKER,
    born,
    died,
    failure,
    line,
    observed,
    outcome,
    used,
)
from wsgiproof.judge.hangs import UNREAD
from wsgiproof.judge.verdict import judge
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.observed import (
    Event,
    Failure,
    Frame,
    LeftoverThreads,
    LogLine,
    Observed,
    Phase,
    Replacement,
    Role,
    Stack,
    Stop,
    Thread,
)
from wsgiproof.records.plan import ExtraPhase

CRASH = {"crash": Verdict.FAIL}
SHUTDOWN = {"shutdown": Verdict.FAIL}
NEXT = born(201, Role.WORKER)
NEXT_ENDED = died(201, exit=0)


def ending(*deaths: Event) -> Observed:
    """A record in which the worker ended as told, and the others as they should."""
    return observed(events=(*BORN, *deaths, FRONTEND_ENDED, PARENT_ENDED))


def finding(seen: Observed) -> Finding:
    (only,) = judge(CELL, seen, RULES).findings
    return only


# crash, by an exit code


@pytest.mark.parametrize("role", [Role.WORKER, Role.FRONTEND, Role.PARENT])
def test_every_process_has_to_end_with_0_at_the_stop(role: Role) -> None:
    seen = observed(events=(*BORN, born(201, role), died(201, role=role, exit=1), *ENDED))
    assert outcome(seen) == CRASH
    assert "exited with 1 while Apache was stopping" in finding(seen).seen


def test_a_crash_tells_the_threads_that_its_interpreters_left() -> None:
    seen = msgspec.structs.replace(
        ending(died(WORKER, signal=signal.SIGSEGV)),
        leftover_threads=(
            LeftoverThreads(
                pid=WORKER, application_group="interpreter2", threads=("monitor", "rtt")
            ),
            LeftoverThreads(pid=WORKER + 1, application_group="interpreter1", threads=("other",)),
        ),
    )
    told = (
        f"pid {WORKER}: 2 threads of interpreter2 still ran after its exit handlers: monitor, rtt"
    )
    evidence = finding(seen).evidence
    assert told in evidence
    assert "other" not in " ".join(evidence)


def test_what_is_the_same_in_several_processes_is_told_once() -> None:
    """Else the evidence of a dozen crashes has no room for what explains them."""
    crashes = [died(300 + each, phase="trials", signal=signal.SIGSEGV) for each in range(6)]
    pids = [one.pid for one in crashes]
    seen = msgspec.structs.replace(
        after_trials(*crashes),
        leftover_threads=tuple(
            LeftoverThreads(pid=pid, application_group="interpreter1", threads=("Thread-1 (tick)",))
            for pid in pids
        ),
        fatal_traces=tuple(f"pid {pid}: Fatal Python error: Aborted\n\nStack:" for pid in pids),
    )
    evidence = finding(seen).evidence
    assert (
        "pid 300: 1 thread of interpreter1 still ran after its exit handlers: Thread-1 (tick) "
        "(and in 5 other processes)"
    ) in evidence
    assert sum("Fatal Python error" in line for line in evidence) == 1


# hang


def hung(**changes: Any) -> Failure:
    """Requests that had no answer in time."""
    told = {"kind": "timeout", "status": None, "error": "no answer", "body": ""}
    return failure(**{**told, **changes})


def test_requests_that_a_busy_machine_left_without_an_answer_prove_nothing() -> None:
    late = observed(failures=(hung(),), starved=0.8)
    assert outcome(late) == {"hang": Verdict.INCONCLUSIVE, "responses": Verdict.INCONCLUSIVE}
    (check,) = [one for one in judge(CELL, late, RULES).checks if one.check == "hang"]
    assert "waited for a processor for 80% of that time" in check.reason
    assert outcome(observed(failures=(hung(),), starved=0.3))["hang"] is Verdict.FAIL


def test_requests_without_an_answer_trip_hang() -> None:
    seen = observed(
        failures=(
            failure(count=9),
            hung(count=2, phase="serial"),
            hung(count=1, phase="idle", url=URLS[1]),
        )
    )
    (told,) = [one for one in judge(CELL, seen, RULES).findings if one.check == "hang"]
    assert told.seen == (
        "3 of 3,280 requests had no answer in time; the first in phase serial: no answer; "
        "2 of 1,602 to interpreter1, 1 of 1,601 to interpreter2"
    )
    assert told.evidence == (
        f"[serial] {URLS[0]}: no answer (2 x)",
        f"[idle] {URLS[1]}: no answer (1 x)",
    )


def test_what_failed_otherwise_came_to_an_end() -> None:
    assert outcome(observed(failures=(failure(),))) == {"responses": Verdict.FAIL}
    assert {one.check: one.reason for one in judge(CELL, observed(), RULES).checks}["hang"] == (
        "3,280 requests, and all of them finished"
    )


# crash


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM])
def test_a_signal_under_load_is_a_crash(number: int) -> None:
    seen = ending(died(phase="parallel", signal=number), NEXT, NEXT_ENDED)
    assert outcome(seen) == CRASH
    name = signal.Signals(number).name
    assert finding(seen).seen == (
        f"1 of 2 worker processes died of {name} (signal {number}) in phase parallel"
    )


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, 40])
def test_a_signal_at_the_stop_is_a_crash(number: int) -> None:
    seen = ending(died(signal=number))
    assert outcome(seen) == CRASH
    told = finding(seen)
    assert f"signal {number}" in told.seen
    assert told.seen.endswith("while Apache was stopping")


def test_a_pass_says_how_many_processes_ran_python() -> None:
    told = {one.check: one.reason for one in judge(CELL, observed(), RULES).checks}["crash"]
    assert told == (
        "3 processes ended, none by a crash; none of 1 process end crashed: under 95 % each (95 %)"
    )


def after_trials(*ends: Event, aborted: str = "") -> Observed:
    """A record with so many ends in phase ``trials`` beside that of the stop."""
    pids = tuple(event.pid for event in ends)
    events = (*BORN, *(born(pid, Role.WORKER) for pid in pids), *ends, *ENDED)
    seen = observed(events=events, identities=used(*pids))
    plan = msgspec.structs.replace(seen.plan, phases=(ExtraPhase.TRIALS,))
    trial = Replacement(phase="trials", time=0.0, seconds=1.0, replaced=pids, leftover=())
    return msgspec.structs.replace(seen, plan=plan, trials=(trial,), aborted=aborted)


def clean_ends(number: int) -> list[Event]:
    """So many ends without a crash in phase ``trials``."""
    return [died(300 + each, phase="trials", exit=0) for each in range(number)]


def reasons(seen: Observed) -> dict[str, str]:
    """Return the reason of each check."""
    return {one.check: one.reason for one in judge(CELL, seen, RULES).checks}


def test_after_enough_ends_a_pass_states_its_bound() -> None:
    seen = after_trials(*clean_ends(13))
    assert outcome(seen) == {}
    none = "none of 14 process ends {}: under 19.3 % each (95 %)"
    assert reasons(seen)["crash"] == (
        f"{none.format('crashed')}; none of 28 interpreters crashed when all threads first used "
        "it: under 10.1 % each (95 %); 16 processes ended in all"
    )
    assert reasons(seen)["shutdown"].endswith(none.format("hung"))


def test_too_few_ends_are_no_pass() -> None:
    seen = after_trials(*clean_ends(12), aborted="the disk was on fire")
    assert outcome(seen)["crash"] is Verdict.INCONCLUSIVE
    assert reasons(seen)["crash"] == (
        "none of 13 process ends crashed: under 20.6 % each (95 %); 14 are needed "
        "(--crash-bound), but the disk was on fire"
    )


def test_a_crash_comes_with_its_rate() -> None:
    crashes = [died(400 + each, phase="trials", signal=signal.SIGSEGV) for each in range(3)]
    seen = after_trials(*clean_ends(10), *crashes)
    assert outcome(seen) == CRASH
    assert finding(seen).seen == (
        "3 of 14 process ends crashed, 21 % (95 %: 5 to 51 %): they died of SIGSEGV (signal 11) "
        "in phase trials"
    )


def test_a_frontend_that_is_replaced_between_trials_is_no_crash() -> None:
    again = (born(501, Role.FRONTEND), died(501, role=Role.FRONTEND, phase="trials", exit=0))
    seen = after_trials(*clean_ends(13))
    assert outcome(msgspec.structs.replace(seen, events=(*seen.events, *again))) == {}


def test_a_process_that_hangs_between_trials_trips_shutdown_with_its_rate() -> None:
    stuck = died(400, phase="trials", signal=signal.SIGKILL)
    seen = after_trials(*clean_ends(12), stuck)
    assert outcome(seen) == SHUTDOWN
    assert finding(seen).seen == (
        "1 of 14 process ends hung, 7 % (95 %: 0 to 34 %): 1 process did not end when replaced; "
        "Apache killed it"
    )


def test_a_process_that_mod_wsgi_aborted_without_time_to_end_is_no_crash() -> None:
    said = "[pid 400:tid 401] mod_wsgi (pid=400): Aborting process 'subject'."
    seen = after_trials(*clean_ends(12), died(400, phase="trials", exit=255))
    assert outcome(seen) == CRASH
    (trial,) = seen.trials
    seen = msgspec.structs.replace(
        seen,
        log=(*seen.log, LogLine(phase="trials", text=said)),
        trials=(msgspec.structs.replace(trial, processor_waits={400: 30.0}),),
    )
    assert outcome(seen) == {"crash": Verdict.INCONCLUSIVE}


def test_being_terminated_at_the_stop_is_no_crash() -> None:
    assert outcome(ending(died(signal=signal.SIGTERM))) == {}


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("phase", ["start", "warm-up", "parallel", "serial"])
def test_a_process_replaced_before_the_stop_is_a_crash_however_it_ended(
    phase: str, code: int
) -> None:
    seen = ending(died(phase=phase, exit=code), NEXT, NEXT_ENDED)
    assert outcome(seen) == CRASH
    assert finding(seen).seen == (
        f"1 of 2 worker processes exited with {code} in phase {phase}"
    )  # fmt: skip


@pytest.mark.parametrize("asked", [{"maximum_requests": 400}, {"processes": 4, "min_processes": 1}])
@pytest.mark.parametrize("end", [{"exit": 0}, {"exit": 1}, {"signal": signal.SIGSEGV}])
def test_a_process_that_apache_may_end_is_a_crash_only_if_it_ends_badly(
    asked: dict[str, Any], end: dict[str, Any]
) -> None:
    cell = cell_with(CELL, **asked)
    seen = ending(died(phase="parallel", **end), NEXT, NEXT_ENDED)
    assert outcome(seen, cell) == ({} if end == {"exit": 0} else CRASH)
    assert outcome(seen) == CRASH


def test_a_frontend_that_dies_is_a_crash_too() -> None:
    early = died(FRONTEND, role=Role.FRONTEND, phase="serial", signal=signal.SIGSEGV)
    seen = observed(events=(*BORN, early, died(exit=0), PARENT_ENDED))
    assert outcome(seen) == CRASH
    assert "1 of 1 frontend process" in finding(seen).seen


def test_a_process_that_vanished_under_load_is_a_crash() -> None:
    assert outcome(ending(died(phase="parallel"), NEXT, NEXT_ENDED)) == CRASH


def test_an_unknown_end_at_the_stop_is_not_a_pass() -> None:
    seen = ending(died())
    assert outcome(seen) == {"crash": Verdict.INCONCLUSIVE}
    (reason,) = [one.reason for one in judge(CELL, seen, RULES).checks if one.check == "crash"]
    assert str(WORKER) in reason


def test_a_known_crash_outweighs_an_unknown_end() -> None:
    seen = ending(died(phase="serial", signal=signal.SIGSEGV), NEXT, died(201))
    assert outcome(seen) == CRASH


def test_a_server_that_nobody_watched_is_not_a_pass() -> None:
    assert outcome(observed(events=())) == {"crash": Verdict.INCONCLUSIVE}


def test_deaths_of_one_kind_are_one_finding_and_of_two_kinds_two() -> None:
    deaths = [died(pid, phase="parallel", signal=signal.SIGSEGV) for pid in (201, 202, 203)]
    workers = [born(pid, Role.WORKER) for pid in (201, 202, 203)]
    seen = ending(*workers, *deaths, died(signal=signal.SIGABRT))
    assert outcome(seen) == CRASH
    told = sorted(one.seen for one in judge(CELL, seen, RULES).findings)
    assert len(told) == 2
    assert told[0].startswith("1 of 1 process end crashed, ")
    assert "died of SIGABRT" in told[0]
    assert told[1].startswith("3 of 4 worker processes died of SIGSEGV")


def crash_stack(pid: int, *functions: str) -> Stack:
    frames = tuple(
        Frame(function=name, file=f"{name}.py", line=1, language="python") for name in functions
    )
    threads = (Thread(tid=pid, frames=frames),) if functions else ()
    note = "" if functions else "only the first core files are read"
    return Stack(
        pid=pid,
        role=Role.WORKER,
        phase="parallel",
        why="crash",
        thread=pid if functions else 0,
        threads=threads,
        note=note,
    )


def crashes(*stacks: Stack) -> list[str]:
    """What is found if each of these processes dies of SIGSEGV, in phases of their own."""
    phases = ("warm-up", "parallel", "serial", "diagnosis")
    seen = observed(
        events=(
            *BORN,
            *(born(one.pid, Role.WORKER) for one in stacks),
            *(
                died(one.pid, phase=phase, signal=signal.SIGSEGV)
                for one, phase in zip(stacks, phases, strict=False)
            ),
            *ENDED,
        ),
        stacks=stacks,
    )
    assert outcome(seen) == CRASH
    return [one.seen for one in judge(CELL, seen, RULES).findings]


def crashed_at_the_end(*stacks: Stack) -> list[str]:
    """What is found if each of these processes dies of SIGSEGV in phase ``trials``."""
    ends = [died(one.pid, phase="trials", signal=signal.SIGSEGV) for one in stacks]
    seen = msgspec.structs.replace(after_trials(*clean_ends(10), *ends), stacks=stacks)
    return [one.seen for one in judge(CELL, seen, RULES).findings]


def test_crashes_at_the_end_are_alike_if_the_innermost_function_is() -> None:
    """What had called it is chance: a thread runs on until its interpreter is gone."""
    (only,) = crashed_at_the_end(
        crash_stack(401, "eval.constprop.0", "read"), crash_stack(402, "eval", "wait")
    )
    assert only.startswith("2 of 13 process ends crashed, 15 % (95 %: 2 to 45 %): they died of")


def test_several_kinds_of_crashes_at_the_end_say_how_many_there_are_in_all() -> None:
    assert [
        one.partition(":")[0]
        for one in crashed_at_the_end(
            crash_stack(401, "eval"), crash_stack(402, "free"), crash_stack(403, "eval")
        )
    ] == [
        "2 of 14 process ends crashed, 14 % (95 %",
        "1 of 14 process ends crashed, 7 % (95 %",
    ]
    first, other = crashed_at_the_end(crash_stack(401, "eval"), crash_stack(402, "free"))
    assert "(in all 2): it died of" in first
    assert "(in all 2): it died of" in other


def test_a_crash_without_a_stack_belongs_to_the_only_place_that_is_known() -> None:
    (only,) = crashes(
        crash_stack(201), crash_stack(202, "decode"), crash_stack(203, "decode"), crash_stack(204)
    )
    assert only.startswith("4 of 5 worker processes died of SIGSEGV")
    assert "in the phases warm-up, parallel, serial and diagnosis, 2 of them in decode (" in only


def test_a_crash_without_a_stack_is_its_own_finding_if_it_may_be_either() -> None:
    found = crashes(crash_stack(201, "decode"), crash_stack(202, "encode"), crash_stack(203))
    assert len(found) == 3
    assert not any("of them" in one for one in found)


def test_a_crash_comes_with_its_stacks_and_its_log_line() -> None:
    reported = line(
        f"AH00052: child pid {WORKER} exit signal Segmentation fault (11)", source="core:notice"
    )
    stacks = f"pid {WORKER}: Segmentation fault at 0x0, in bson"
    others = "pid 20: something else", f"pid 1{WORKER}: something else"
    seen = observed(
        events=(*BORN, died(signal=signal.SIGSEGV), FRONTEND_ENDED, PARENT_ENDED),
        log=(*LOG, reported),
        fatal_traces=(stacks, *others),
    )
    assert outcome(seen) == CRASH
    told = finding(seen).evidence
    assert (told[0], told[1]) == (f"pids {WORKER}", stacks)
    assert reported.text in told
    assert not set(others) & set(told)


@pytest.mark.parametrize(
    "text",
    [
        "AH00052: child pid 4711 exit signal Segmentation fault (11)",
        "AH00051: child pid 4711 exit signal Aborted (6), possible coredump in /tmp/run",
    ],
)
def test_a_crash_that_only_the_log_tells_of_is_a_crash(text: str) -> None:
    """A child may die before anybody has seen it."""
    seen = observed(log=(*LOG, line(text, source="core:notice")))
    assert outcome(seen) == CRASH
    told = finding(seen)
    assert "1 child" in told.seen
    assert "in phase parallel" in told.seen
    assert told.evidence[0].endswith(text)


@pytest.mark.parametrize("end", ["Killed (9)", "Terminated (15)"])
def test_what_apache_ends_itself_is_no_crash_in_the_log(end: str) -> None:
    text = f"AH00052: child pid 4711 exit signal {end}"
    assert outcome(observed(log=(*LOG, line(text, phase="stop", source="core:notice")))) == {}


# shutdown


def test_a_process_left_over_trips_shutdown() -> None:
    seen = observed(stop=Stop(seconds=15.0, leftover=(WORKER,), connections_left=0))
    assert outcome(seen) == SHUTDOWN
    told = finding(seen)
    assert told.seen == "1 process still ran 15 seconds after the stop and had to be killed"
    assert told.evidence == (f"pids {WORKER}", UNREAD)


def test_a_process_that_apache_had_to_kill_trips_shutdown_alone() -> None:
    seen = ending(died(signal=signal.SIGKILL))
    assert outcome(seen) == SHUTDOWN
    assert "Apache killed them" in finding(seen).seen


@pytest.mark.parametrize(
    ("waited", "stopped", "verdict"),
    [
        (0.0, 0.3, Verdict.FAIL),
        (0.1, 1.5, Verdict.FAIL),
        (1.9, 0.0, Verdict.INCONCLUSIVE),
        (1.0, 1.0, Verdict.INCONCLUSIVE),
    ],
)
@pytest.mark.parametrize("ended", [3.0, 8.0])
def test_a_process_that_had_no_time_to_end_proves_nothing(
    waited: float, stopped: float, verdict: Verdict, ended: float
) -> None:
    """It is killed after three seconds; Apache itself may take longer to end."""
    read = Stack(pid=WORKER, role=Role.WORKER, phase="stop", why="hang", stopped=stopped)
    killed = died(signal=signal.SIGKILL)
    stop = Stop(seconds=ended, leftover=(), connections_left=0, processor_waits={WORKER: waited})
    seen = msgspec.structs.replace(
        ending(killed),
        stacks=(read,),
        phases=(Phase(name="stop", started=killed.time - 3.0, seconds=ended, requests=0),),
        stop=stop,
    )
    assert outcome(seen).get("shutdown") is verdict


def test_a_process_that_is_killed_at_once_had_nothing_to_wait_for() -> None:
    seen = msgspec.structs.replace(
        ending(died(signal=signal.SIGKILL)),
        stop=Stop(seconds=0.5, leftover=(), connections_left=0, processor_waits={WORKER: 0.3}),
    )
    assert outcome(seen).get("shutdown") is Verdict.FAIL


def test_a_leftover_is_told_once_though_its_end_by_sigkill_is_seen_too() -> None:
    seen = observed(
        events=(*BORN, died(signal=signal.SIGKILL), FRONTEND_ENDED, PARENT_ENDED),
        stop=Stop(seconds=15.0, leftover=(WORKER,), connections_left=0),
    )
    assert outcome(seen) == SHUTDOWN
    assert "had to be killed" in finding(seen).seen


def test_connections_left_behind_trip_shutdown() -> None:
    seen = observed(stop=Stop(seconds=0.5, leftover=(), connections_left=3))
    assert outcome(seen) == SHUTDOWN
    assert finding(seen).seen.startswith("3 connections of the subject still open")


def test_connections_that_nobody_could_count_after_the_stop_are_no_pass() -> None:
    seen = observed(stop=Stop(seconds=0.5, leftover=(), connections_left=None))
    assert outcome(seen) == {"shutdown": Verdict.INCONCLUSIVE}


def test_a_leftover_outweighs_connections_that_nobody_could_count() -> None:
    seen = observed(stop=Stop(seconds=15.0, leftover=(WORKER,), connections_left=None))
    assert outcome(seen) == SHUTDOWN


def test_a_server_that_was_never_stopped_is_no_pass() -> None:
    assert outcome(observed(events=(*BORN, *ENDED), stop=None)) == {
        "shutdown": Verdict.INCONCLUSIVE
    }


@pytest.mark.parametrize("death", [{"exit": 0}, {"exit": 1}, {"signal": signal.SIGPIPE}])
@pytest.mark.parametrize("phase", ["warm-up", "parallel", "stop"])
def test_the_end_of_a_command_that_a_worker_runs_is_no_crash(
    phase: str, death: dict[str, int]
) -> None:
    command = died(400, role=Role.HELPER, phase=phase, **death)
    seen = observed(events=(*BORN, born(400, Role.HELPER), command, *ENDED))
    assert outcome(seen) == {}
