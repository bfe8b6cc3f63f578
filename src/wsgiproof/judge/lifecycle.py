"""The checks of hangs, crashes and the shutdown of the server."""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath

import msgspec

from wsgiproof.judge import stacks
from wsgiproof.judge.finding import Check, Outcome, count, evidence, in_words, signal_name, some
from wsgiproof.judge.first_use import failed_by_interpreter
from wsgiproof.judge.hangs import (
    aborted_without_time,
    hung_action,
    hung_evidence,
    lacked_time,
    no_time,
    request_lines,
    stuck_finding,
    was_starved,
)
from wsgiproof.judge.process_ends import (
    ENDED_BY_APACHE,
    ProcessEnds,
    ends_needed,
    exit_status,
    is_end,
    is_requested,
    none_of,
    process_ends,
)
from wsgiproof.judge.resources import Resources
from wsgiproof.records import traffic
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.records.judgement import Finding, Rate
from wsgiproof.records.observed import CONNECTIONS, Event, Observed, Role, Stack
from wsgiproof.records.plan import ENDING, ExtraPhase, PhaseName

_EXIT_SIGNAL = re.compile(r"child pid ([0-9]{1,9}) exit signal .*?\(([0-9]{1,4})\)")
"""Apache's AH00051 and AH00052: the parent reports a child that a signal killed."""


_NUMBERS = re.compile(r"\bpid \d+|0x[0-9a-f]+")
"""What differs in traces that are alike: the process, and the threads."""
_LAST_LINES = 2
"""How many of the last lines that a process wrote to the error log are shown."""

_JUDGED = {PhaseName.STOP, PhaseName.TRIALS}
"""The phases of which ``shutdown`` judges how processes end."""
HUNG = traffic.Outcome.TIMEOUT
"""The kind of failure of a request that got no answer within its deadline."""


def hang(cell: Cell, observed: Observed) -> Outcome:
    """Every request finishes."""
    hung = [failure for failure in observed.failures if failure.kind == HUNG]
    if hung and was_starved(observed):
        number = sum(failure.count for failure in hung)
        return Outcome(
            missing=(
                f"{count(number, 'request')} had no answer in time, but a process that "
                f"{'it needs' if number == 1 else 'they need'} waited for a processor for "
                f"{min(observed.starved, 1):.0%} of that time: the machine was too busy; try again "
                "on a less busy one"
            )
        )
    if hung:
        number = sum(failure.count for failure in hung)
        phases = {failure.phase for failure in hung}
        read = [one for one in observed.stacks if one.why == "hang" and one.phase in phases]
        blocked = stacks.blocked(read, observed.unfinished)
        finding = Finding(
            check="hang",
            seen=(
                f"{number:,} of {count(observed.requests, 'request')} had no answer in time; "
                f"the first in phase {hung[0].phase}: {hung[0].error}"
                + (f"; {whose}" if (whose := failed_by_interpreter(observed, hung)) else "")
                + (f"; blocked: {blocked}" if blocked else "")
            ),
            meaning=(
                "a request takes longer than its deadline, perhaps forever: it waits for a lock "
                "that another thread or interpreter holds, for a server, or in the import of the "
                "application; each such request takes a thread from the pool"
            ),
            action=hung_action(read, blocked),
            evidence=evidence(
                [
                    *(f"[{one.phase}] {one.url}: {one.error} ({one.count} x)" for one in hung),
                    *hung_evidence(observed, read),
                ]
            ),
        )
        return Outcome(findings=(finding,))
    if not observed.requests:
        return Outcome(missing="no request was made")
    return Outcome(passed=f"{count(observed.requests, 'request')}, and all of them finished")


def crash(cell: Cell, observed: Observed) -> Outcome:
    """No process is killed by a signal, or replaced when that was not requested, at any time.

    At the end of a process a crash may be a matter of luck, so a pass says how often that can be.
    """
    deaths = [
        event for event in observed.events if event.kind == "died" and event.role is not Role.HELPER
    ]
    if not observed.events:
        return Outcome(missing="no process was watched")
    crashes = [death for death in deaths if is_crash(cell, observed, death)]
    groups = _alike(observed, crashes)
    ends = process_ends(observed)
    findings = [_crash_finding(observed, group, ends) for group in groups]
    findings += _only_in_log(observed, {death.pid for death in crashes})
    if findings:
        return Outcome(findings=tuple(findings))
    unknown = [death.pid for death in deaths if death.signal is None and death.exit is None]
    if unknown:
        processes = count(len(unknown), "process", "processes")
        return Outcome(missing=f"the exit status of {processes} is unknown: pid {some(unknown)}")
    return _none_crashed(observed, ends, len(deaths))


def _none_crashed(observed: Observed, ends: ProcessEnds, deaths: int) -> Outcome:
    """Return the outcome if no process crashed: what that excludes, and whether it is enough."""
    seen = ends.rate(0, "crashed")
    plan = observed.plan
    if ExtraPhase.TRIALS not in plan.phases:
        rests = "" if ends.total else ", so nothing is known about them"
        return Outcome(
            passed=f"{count(deaths, 'process', 'processes')} ended, none by a crash; {seen}{rests}"
        )
    needed = ends_needed(plan.crash_bound)
    if ends.total < needed:
        why = observed.aborted or "the time was over"
        return Outcome(missing=f"{seen}; {needed} are needed (--crash-bound), but {why}")
    first_uses = sum(one.threads >= observed.workers[1] for one in observed.identities)
    in_use = none_of(first_uses, "interpreter", "crashed when all threads first used it")
    return Outcome(passed=f"{seen}; {in_use}; {count(deaths, 'process', 'processes')} ended in all")


def _alike(observed: Observed, crashes: Sequence[Event]) -> list[list[Event]]:
    """Return the crashes in groups, one for each place where processes crashed.

    A crash without a stack belongs to those that ended in the same way, if all of those crashed in
    one place.
    """
    sites: dict[tuple[object, ...], dict[tuple[str, ...], list[Event]]] = defaultdict(dict)
    for death in crashes:
        at_end = is_end(observed, death)
        site = stacks.crash_site(stacks.of_crash(observed, death.pid), at_end=at_end)
        way = (at_end, death.role, death.signal, death.exit)
        sites[way].setdefault(site, []).append(death)
    groups: list[list[Event]] = []
    for by_site in sites.values():
        unread = by_site.pop((), [])
        known = [*by_site.values()]
        if len(known) == 1:
            groups.append(sorted([*known[0], *unread], key=crashes.index))
            continue
        groups += known
        by_phase: dict[str, list[Event]] = defaultdict(list)
        for death in unread:
            at_end = is_end(observed, death)
            by_phase["" if at_end else death.phase].append(death)
        groups += by_phase.values()
    return groups


def is_crash(cell: Cell, observed: Observed, death: Event) -> bool:
    """Return whether a process ended in a way in which it was not supposed to."""
    status = exit_status(observed, death)
    if status:
        return not aborted_without_time(observed, death)
    children = (Role.FRONTEND,) if cell.mode is Mode.DAEMON else (Role.FRONTEND, Role.WORKER)
    varies = bool(cell.httpd_conf) and death.role is Role.FRONTEND
    if (death.phase in ENDING or varies) and death.role in children and status == 0:
        return False  # more children than Apache keeps; with a user's own file, at any time
    if death.phase != PhaseName.STOP and not is_requested(observed, death):
        replaced = cell.maximum_requests or cell.min_processes
        return not (replaced and death.role is Role.WORKER and status == 0)
    return death.signal is not None and death.signal not in ENDED_BY_APACHE


def _crash_finding(observed: Observed, group: Sequence[Event], ends: ProcessEnds) -> Finding:
    first = group[0]
    pids = [event.pid for event in group]
    how = f"died of {signal_name(first.signal)}" if first.signal else _exit_text(first.exit)
    phases = list(dict.fromkeys(event.phase for event in group))
    when = (
        "while Apache was stopping"
        if phases == [PhaseName.STOP]
        else f"in phase {phases[0]}"
        if len(phases) == 1
        else f"in the phases {in_words(phases)}"
    )
    at_end = {*pids} <= {*ends.crashed}
    if at_end:
        every = len(ends.crashed)
        who = ends.rate(len(pids), "crashed")
        who += f" (in all {every})" if every > len(pids) else ""
        who += ": they" if len(pids) > 1 else ": it"
    else:
        of_role = {event.pid for event in observed.events if event.role is first.role}
        among = count(len(of_role), f"{first.role} process", f"{first.role} processes")
        who = f"{len(pids)} of {among}"
    read = [one for pid in pids if (one := stacks.of_crash(observed, pid))]
    crashed = [site for one in read if (site := stacks.crashed(one))]
    of = f"{len(crashed)} of them " if len(crashed) < len(pids) else ""
    return Finding(
        check="crash",
        seen=f"{who} {how} {when}" + (f", {of}{stacks.where(crashed[0][1])}" if crashed else ""),
        meaning=(
            "a C extension, mod_wsgi or the interpreter crashed; a client sees at most a dropped "
            "request, and Apache starts a new process"
            if not at_end
            else "a C extension, mod_wsgi or the interpreter crashed while sub interpreters were "
            "destroyed; no client notices, but exit handlers do not finish and data may be lost"
        ),
        action=(
            "compare with another mod_wsgi version, and with 'WSGIDestroyInterpreter Off' "
            "(mod_wsgi 6) if the crash is at the stop"
        ),
        evidence=evidence(
            [
                f"pids {some(pids, 10)}",
                *_crash_stack(observed, read),
                *_loaded(observed),
                *request_lines(observed, pids),
                *_leftover_threads(observed, pids),
                *_fatal_traces(observed, pids),
                *_log_lines(observed, pids),
            ]
        ),
        rate=Rate(number=len(pids), total=ends.total) if at_end else None,
    )


def _crash_stack(observed: Observed, read: Sequence[Stack]) -> list[str]:
    """Return the first stack of a crashed thread, and its request; else why there is no stack."""
    for stack in read:
        if site := stacks.crashed(stack):
            text = [stacks.thread_text(stack.pid, *site), stacks.without_state(stack, *site)]
            lines = ["\n".join(filter(None, text))]
            unfinished = [one for one in observed.unfinished if one.pid == stack.pid]
            urls = [one.url for one in unfinished if one.tid and one.tid == site[0].tid]
            return lines + [f"thread {site[0].tid} was serving {url}" for url in urls]
    return [f"no stack: {note}" for note in stacks.notes(read)]


def _loaded(observed: Observed) -> list[str]:
    """Return which C extensions the workers had loaded, without those of the standard library."""
    names = [PurePath(path).name for path in observed.libraries if "lib-dynload" not in path]
    return [f"loaded: {some(names, 20)}"] if names else []


def _only_in_log(observed: Observed, known: set[int]) -> list[Finding]:
    """Return a finding for deaths in Apache's log, of processes too short-lived to be watched."""
    lines = [
        (line, match)
        for line in observed.log
        if (match := _EXIT_SIGNAL.search(line.text)) and int(match[1]) not in known
        if int(match[2]) not in ENDED_BY_APACHE
    ]
    if not lines:
        return []
    signals = sorted({int(match[2]) for _, match in lines})
    finding = Finding(
        check="crash",
        seen=(
            f"Apache reports {count(len(lines), 'child', 'children')} that died of "
            f"{', '.join(map(signal_name, signals))} in phase {lines[0][0].phase}"
        ),
        meaning="children crash as soon as they are started",
        action="read the error log from the first of these lines on",
        evidence=evidence(line.text for line, _ in lines),
    )
    return [finding]


def _leftover_threads(observed: Observed, pids: Sequence[int]) -> list[str]:
    """Return the threads that may have kept running in what was left of their interpreter.

    Those of one process stand for those of all in which they were the same.
    """
    alike: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for one in observed.leftover_threads:
        if one.pid in pids:
            alike[one.application_group, one.threads].append(one.pid)
    return [
        f"pid {found[0]}: {count(len(threads), 'thread')} of {group} still ran after its exit "
        f"handlers: {some(threads)}{_also_in(len(found) - 1)}"
        for (group, threads), found in alike.items()
    ]


def _fatal_traces(observed: Observed, pids: Sequence[int]) -> list[str]:
    """Return the different traces, the first of those that are alike."""
    different: dict[str, str] = {}
    for text in observed.fatal_traces:
        if any(f"pid {pid}:" in text for pid in pids):
            different.setdefault(_NUMBERS.sub("N", text), text)
    return [*different.values()]


def _also_in(others: int) -> str:
    return f" (and in {count(others, 'other process', 'other processes')})" if others else ""


def _log_lines(observed: Observed, pids: Sequence[int]) -> list[str]:
    """Return the last lines that the first process wrote, and Apache's lines about all deaths."""
    reports = [
        line.text
        for line in observed.log
        if (match := _EXIT_SIGNAL.search(line.text)) and int(match[1]) in pids
    ]
    written = (f"[pid {pids[0]}]", f"[pid {pids[0]}:tid ")
    last = [line.text for line in observed.log if any(mark in line.text for mark in written)]
    return [*last[-_LAST_LINES:], *reports]


def _exit_text(status: int | None) -> str:
    return "ended with an unknown status" if status is None else f"exited with {status}"


def shutdown(resources: Resources) -> Check:
    """Return the check ``shutdown``; only if the ``resources`` have connections are there any."""
    connects = any(one.by_backend == CONNECTIONS for one in resources.values())

    def check(cell: Cell, observed: Observed) -> Outcome:
        """The server stops within its deadline without being killed, and closes its connections."""
        return _shutdown(observed, connects=connects and bool(observed.backend))

    return check


def _shutdown(observed: Observed, *, connects: bool) -> Outcome:
    stop = observed.stop
    if stop is None:
        return Outcome(missing="wsgiproof did not stop the server")
    findings = []
    by_signal = [
        event
        for event in observed.events
        if event.kind == "died" and event.signal == signal.SIGKILL and event.phase in _JUDGED
    ]
    hurried = [event.pid for event in by_signal if lacked_time(observed, event)]
    killed = stop.leftover or _in_phase(by_signal, PhaseName.STOP)
    killed = tuple(pid for pid in killed if pid not in hurried)
    in_trials = tuple(pid for pid in _in_phase(by_signal, PhaseName.TRIALS) if pid not in hurried)
    ends = process_ends(observed)
    if killed and stop.leftover:
        findings.append(
            _shutdown_finding(
                f"{count(len(killed), 'process', 'processes')} still ran "
                f"{observed.plan.stop_deadline:.0f} seconds after the stop and had to be killed",
                killed,
                observed,
            )
        )
    elif killed:
        findings.append(
            _shutdown_finding(
                f"{count(len(killed), 'process', 'processes')} did not end when Apache stopped; "
                f"Apache killed them {stop.seconds:.1f} seconds into the stop",
                killed,
                observed,
            )
        )
    if in_trials:
        findings.append(
            _shutdown_finding(
                f"{count(len(in_trials), 'process', 'processes')} did not end when replaced; "
                f"Apache killed {'it' if len(in_trials) == 1 else 'them'}",
                in_trials,
                observed,
            )
        )
    findings = [
        msgspec.structs.replace(one, seen=f"{ends.rate(len(ends.hung), 'hung')}: {one.seen}")
        if ends.hung and observed.trials
        else one
        for one in findings
    ]
    if stop.connections_left:
        findings.append(
            _shutdown_finding(
                f"{count(stop.connections_left, 'connection')} of the subject still open on the "
                f"deployment {observed.plan.disconnect_timeout:.0f} seconds after the stop",
                [],
                observed,
            )
        )
    if findings:
        return Outcome(findings=tuple(findings))
    if hurried and not (observed.trials and ends.total >= ends_needed(observed.plan.crash_bound)):
        return Outcome(missing=no_time(len(hurried)))
    hung = f"; {ends.rate(0, 'hung')}" if observed.trials else ""
    if not connects:
        return Outcome(
            passed=f"all processes ended within {stop.seconds:.1f} seconds of the stop{hung}; "
            "there was no deployment to hold connections to"
        )
    if stop.connections_left is None:
        return Outcome(missing="the deployment did not report its connections after the stop")
    return Outcome(
        passed=f"all processes ended within {stop.seconds:.1f} seconds of the stop, and their "
        f"connections were closed{hung}"
    )


def _in_phase(events: Sequence[Event], phase: PhaseName) -> tuple[int, ...]:
    return tuple(event.pid for event in events if event.phase == phase)


def _shutdown_finding(seen: str, pids: Sequence[int], observed: Observed) -> Finding:
    """``pids`` are the processes that did not end, and whose stacks may have been read."""
    read = [one for one in observed.stacks if _hung_at_end(one) and one.pid in pids]
    ends = process_ends(observed)
    hung = len({*pids} & {*ends.hung})
    finding = stuck_finding(
        "shutdown",
        seen,
        "an interpreter hangs while it shuts down (it waits for a lock or a thread), or a "
        "process outlives its server; restarts and deployments stall",
        observed,
        pids,
        read,
    )
    rate = Rate(number=hung, total=ends.total) if hung else None
    return msgspec.structs.replace(finding, rate=rate)


def _hung_at_end(stack: Stack) -> bool:
    return stack.why == "hang" and stack.phase in _JUDGED
