"""The checks of life and death: did a process die, and did the server go as it should?"""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath

from wsgiproof.cell import Cell, Mode, Topology
from wsgiproof.judge import stacks
from wsgiproof.judge.finding import Outcome, count, evidence, signal_name, some
from wsgiproof.judge.hung import hung_action, hung_evidence, running, staying
from wsgiproof.judge.restart import REPLACING, is_asked_for
from wsgiproof.records import Event, Finding, Observed, Role, Stack

STOP = "stop"
"""The phase in which processes are meant to end."""

_ENDED_BY_APACHE = {signal.SIGTERM, signal.SIGKILL}
"""What Apache itself ends its children with; a SIGKILL is a matter for ``shutdown``."""
_EXIT_SIGNAL = re.compile(r"child pid ([0-9]{1,9}) exit signal .*?\(([0-9]{1,4})\)")
"""Apache's AH00051 and AH00052: the parent reports a child that died by a signal."""


_LAST_LINES = 2
"""Lines of the error log that a process wrote before it died, which are shown."""

HUNG = "timeout"
"""The kind of failure of a request that has no answer within its deadline."""


def hang(cell: Cell, observed: Observed) -> Outcome:
    """Every request comes to an end."""
    hung = [failure for failure in observed.failures if failure.kind == HUNG]
    if hung:
        number = sum(failure.count for failure in hung)
        phases = {failure.phase for failure in hung}
        while_it_hung = [
            one for one in observed.stacks if one.why == "hang" and one.phase in phases
        ]
        blocked = stacks.blocked(while_it_hung, observed.unfinished)
        finding = Finding(
            check="hang",
            seen=(
                f"{number:,} of {count(observed.requests, 'request')} never came to an end; "
                f"first in phase {hung[0].phase}: {hung[0].error}"
                + (f"; blocked: {blocked}" if blocked else "")
            ),
            meaning=(
                "a request thread waits for ever: for a lock that another thread or interpreter "
                "holds, for a server, or in the import of the application; each takes a thread "
                "out of the pool, until none is left"
            ),
            action=hung_action(while_it_hung, blocked),
            evidence=evidence(
                [
                    *(f"[{one.phase}] {one.url}: {one.error} ({one.count} x)" for one in hung),
                    *hung_evidence(observed, while_it_hung),
                ]
            ),
        )
        return Outcome(findings=(finding,))
    if not observed.requests:
        return Outcome(missing="no request was made")
    return Outcome(passed=f"{count(observed.requests, 'request')}, and all came to an end")


def crash(cell: Cell, observed: Observed) -> Outcome:
    """No process dies by a signal, or is replaced without our asking, at any time."""
    deaths = [
        event for event in observed.events if event.kind == "died" and event.role is not Role.HELPER
    ]
    if not observed.events:
        return Outcome(missing="no process was watched")
    groups: dict[tuple[object, ...], list[Event]] = defaultdict(list)
    for death in deaths:
        if is_crash(cell, observed, death):
            place = stacks.same(stacks.of_crash(observed, death.pid))
            key = (death.phase, death.role, death.signal, death.exit)
            groups[(death.phase == STOP, *key[1:], place) if place else key].append(death)
    findings = [_crash_finding(cell, observed, group) for group in groups.values()]
    findings += _only_in_log(observed, {event.pid for group in groups.values() for event in group})
    if findings:
        return Outcome(findings=tuple(findings))
    unknown = [death.pid for death in deaths if death.signal is None and death.exit is None]
    if unknown:
        return Outcome(missing=f"nobody could read how these processes ended: {some(unknown)}")
    return Outcome(passed=f"{count(len(deaths), 'process', 'processes')} ended, none by a crash")


def is_crash(cell: Cell, observed: Observed, death: Event) -> bool:
    """Whether a process ended otherwise than it was meant to."""
    if death.exit:
        return True
    children = (Role.FRONTEND,) if cell.mode is Mode.DAEMON else (Role.FRONTEND, Role.WORKER)
    if death.phase in REPLACING and death.role in children and death.exit == 0:
        return False  # Apache has more children for a moment than it keeps
    if death.phase != STOP and not is_asked_for(observed, death):
        recycled = cell.maximum_requests and death.role is Role.WORKER and death.exit == 0
        return not recycled
    return death.signal is not None and death.signal not in _ENDED_BY_APACHE


def _crash_finding(cell: Cell, observed: Observed, group: Sequence[Event]) -> Finding:
    first = group[0]
    pids = [event.pid for event in group]
    of_role = {event.pid for event in observed.events if event.role is first.role}
    among = count(len(of_role), f"{first.role} process", f"{first.role} processes")
    how = f"died of {signal_name(first.signal)}" if first.signal else _ended(first.exit)
    phases = list(dict.fromkeys(event.phase for event in group))
    when = "while Apache was stopping" if first.phase == STOP else f"in phase {some(phases)}"
    read = [one for pid in pids if (one := stacks.of_crash(observed, pid))]
    site = next((site for one in read if (site := stacks.crashed(one))), None)
    return Finding(
        check="crash",
        seen=f"{len(pids)} of {among} {how} {when}"
        + (f", {stacks.where(site[1])}" if site else ""),
        meaning=(
            "a C extension, mod_wsgi or the interpreter crashed; a client sees at most a dropped "
            "request, and Apache starts a new process"
            if first.phase != STOP
            else "a C extension, mod_wsgi or the interpreter crashed as sub interpreters were "
            "destroyed; no client notices, but exit handlers do not finish and data may be lost"
        ),
        action=(
            "compare with another mod_wsgi version, and with 'WSGIDestroyInterpreter Off' "
            "(mod_wsgi 6) where it happens at the stop"
        ),
        evidence=evidence(
            [
                f"pids {some(pids, 10)}",
                *_crash_stack(observed, read),
                *_loaded(cell, observed),
                *running(observed, pids),
                *_leftover_threads(observed, pids),
                *_stacks(observed, pids),
                *_log_lines(observed, pids),
            ]
        ),
    )


def _crash_stack(observed: Observed, read: Sequence[Stack]) -> list[str]:
    """The stack of the first that has one, and its request; else why there is none."""
    for stack in read:
        if site := stacks.crashed(stack):
            told = [stacks.told(stack.pid, *site)]
            working = [one for one in observed.unfinished if one.pid == stack.pid]
            mine = [one.url for one in working if one.tid and one.tid == site[0].tid]
            return told + [f"thread {site[0].tid} was at {url}" for url in mine]
    return [f"no stack: {note}" for note in stacks.notes(read)]


def _loaded(cell: Cell, observed: Observed) -> list[str]:
    """What C code was in the processes, but for that of the standard library."""
    names = [PurePath(path).name for path in observed.libraries if "lib-dynload" not in path]
    if not names:
        return []
    versions = f"Python {cell.python}, mod_wsgi {cell.mod_wsgi}, PyMongo {cell.pymongo}"
    return [f"loaded: {some(names, 20)} ({versions})"]


def _only_in_log(observed: Observed, known: set[int]) -> list[Finding]:
    """Deaths that Apache's log reports, of processes too short-lived to be watched."""
    lines = [
        (line, match)
        for line in observed.log
        if (match := _EXIT_SIGNAL.search(line.text)) and int(match[1]) not in known
        if int(match[2]) not in _ENDED_BY_APACHE
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
    """Threads that may have run on in what was left of their interpreter."""
    return [
        f"pid {one.pid}: {count(len(one.threads), 'thread')} of {one.application_group} still ran "
        f"after its exit handlers: {some(one.threads)}"
        for one in observed.leftover_threads
        if one.pid in pids
    ]


def _stacks(observed: Observed, pids: Sequence[int]) -> list[str]:
    return [text for text in observed.fatal_traces if any(f"pid {pid}:" in text for pid in pids)]


def _log_lines(observed: Observed, pids: Sequence[int]) -> list[str]:
    """What Apache tells of their deaths, and the last words before of the first that had any."""
    told = [
        line.text
        for line in observed.log
        if (match := _EXIT_SIGNAL.search(line.text)) and int(match[1]) in pids
    ]
    last = [line.text for line in observed.log if f"[pid {pids[0]}]" in line.text]
    return [*last[-_LAST_LINES:], *told]


def _ended(exit_code: int | None) -> str:
    return "ended, nobody knows how," if exit_code is None else f"exited with {exit_code}"


def shutdown(cell: Cell, observed: Observed) -> Outcome:
    """The server goes within its deadline, of its own accord, and takes its connections along."""
    stop = observed.stop
    if stop is None:
        return Outcome(missing="the server was not stopped by us")
    findings = []
    killed = [
        event.pid
        for event in observed.events
        if event.kind == "died" and event.signal == signal.SIGKILL and event.phase == STOP
    ]
    if stop.leftover:
        findings.append(
            _shutdown_finding(
                f"{count(len(stop.leftover), 'process', 'processes')} still there "
                f"{observed.plan.stop_deadline:.0f} seconds after the stop, killed by us",
                stop.leftover,
                observed,
            )
        )
    elif killed:
        findings.append(
            _shutdown_finding(
                f"{count(len(killed), 'process', 'processes')} did not end when asked to; Apache "
                f"killed them, {stop.seconds:.1f} seconds into the stop",
                killed,
                observed,
            )
        )
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
    if cell.topology is Topology.NONE:
        return Outcome(
            passed=f"all gone {stop.seconds:.1f} seconds after the stop; "
            "there was no deployment to keep connections to"
        )
    if stop.connections_left is None:
        return Outcome(missing="the deployment did not tell its connections after the stop")
    return Outcome(passed=f"all gone {stop.seconds:.1f} seconds after the stop, connections too")


def _shutdown_finding(seen: str, pids: Sequence[int], observed: Observed) -> Finding:
    """``pids`` are the processes that did not go, and whose stacks may have been taken."""
    read = [one for one in observed.stacks if _hung_at_stop(one) and one.pid in pids]
    return staying(
        "shutdown",
        seen,
        "an interpreter hangs while it shuts down (a lock or a thread that it waits for), or a "
        "process outlives its server; restarts and deployments stall on it",
        observed,
        pids,
        read,
    )


def _hung_at_stop(stack: Stack) -> bool:
    return stack.why == "hang" and stack.phase == STOP
