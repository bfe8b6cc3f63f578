"""The checks of life and death: did a process die, and did the server go as it should?"""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from collections.abc import Sequence

from wsgiproof.cell import Cell, Topology
from wsgiproof.judge.finding import Outcome, count, evidence, signal_name, some
from wsgiproof.records import Event, Finding, Observed, Role

STOP = "stop"
"""The phase in which processes are meant to end."""

_ENDED_BY_APACHE = {signal.SIGTERM, signal.SIGKILL}
"""What Apache itself ends its children with; a SIGKILL is a matter for ``shutdown``."""
_EXIT_SIGNAL = re.compile(r"child pid (\d+) exit signal .*?\((\d+)\)")
"""Apache's AH00051 and AH00052: the parent reports a child that died by a signal."""


HUNG = "timeout"
"""The kind of failure of a request that has no answer within its deadline."""


def hang(cell: Cell, observed: Observed) -> Outcome:
    """Every request comes to an end."""
    hung = [failure for failure in observed.failures if failure.kind == HUNG]
    if hung:
        number = sum(failure.count for failure in hung)
        finding = Finding(
            check="hang",
            seen=(
                f"{number:,} of {count(observed.requests, 'request')} never came to an end; "
                f"first in phase {hung[0].phase}: {hung[0].error}"
            ),
            meaning=(
                "a request thread waits for ever: for a lock that another thread or interpreter "
                "holds, for a server, or in the import of the application; each takes a thread "
                "out of the pool, until none is left"
            ),
            action="take the stacks of the process while it hangs (py-spy dump --pid PID)",
            evidence=evidence(
                f"[{one.phase}] {one.url}: {one.error} ({one.count} x)" for one in hung
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
    groups: dict[tuple[str, Role, int | None, int | None], list[Event]] = defaultdict(list)
    for death in deaths:
        if is_crash(cell, death):
            groups[death.phase, death.role, death.signal, death.exit].append(death)
    findings = [_crash_finding(observed, group) for group in groups.values()]
    findings += _only_in_log(observed, {event.pid for group in groups.values() for event in group})
    if findings:
        return Outcome(findings=tuple(findings))
    unknown = [death.pid for death in deaths if death.signal is None and death.exit is None]
    if unknown:
        return Outcome(missing=f"nobody could read how these processes ended: {some(unknown)}")
    return Outcome(passed=f"{count(len(deaths), 'process', 'processes')} ended, none by a crash")


def is_crash(cell: Cell, death: Event) -> bool:
    """Whether a process ended otherwise than it was meant to."""
    if death.phase != STOP:
        recycled = cell.maximum_requests and death.role is Role.WORKER and death.exit == 0
        return not recycled
    return death.signal is not None and death.signal not in _ENDED_BY_APACHE


def _crash_finding(observed: Observed, group: Sequence[Event]) -> Finding:
    first = group[0]
    pids = [event.pid for event in group]
    of_role = {event.pid for event in observed.events if event.role is first.role}
    among = count(len(of_role), f"{first.role} process", f"{first.role} processes")
    how = f"died of {signal_name(first.signal)}" if first.signal else _ended(first.exit)
    when = "while Apache was stopping" if first.phase == STOP else f"in phase {first.phase}"
    return Finding(
        check="crash",
        seen=f"{len(pids)} of {among} {how} {when}",
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
            [f"pids {some(pids, 10)}", *_stacks(observed, pids), *_log_lines(observed, pids)]
        ),
    )


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


def _stacks(observed: Observed, pids: Sequence[int]) -> list[str]:
    return [text for text in observed.fatal if any(f"pid {pid}:" in text for pid in pids)]


def _log_lines(observed: Observed, pids: Sequence[int]) -> list[str]:
    return [
        line.text
        for line in observed.log
        if (match := _EXIT_SIGNAL.search(line.text)) and int(match[1]) in pids
    ]


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
                [f"pids {some(stop.leftover, 10)}"],
            )
        )
    elif killed:
        findings.append(
            _shutdown_finding(
                f"{count(len(killed), 'process', 'processes')} did not end when asked to; Apache "
                f"killed them, {stop.seconds:.1f} seconds into the stop",
                [f"pids {some(killed, 10)}"],
            )
        )
    if stop.connections_left:
        findings.append(
            _shutdown_finding(
                f"{count(stop.connections_left, 'connection')} of the subject still open on the "
                f"deployment {observed.plan.farewell_deadline:.0f} seconds after the stop",
                [],
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


def _shutdown_finding(seen: str, lines: Sequence[str]) -> Finding:
    return Finding(
        check="shutdown",
        seen=seen,
        meaning=(
            "an interpreter hangs while it shuts down (a lock or a thread that it waits for), or "
            "a process outlives its server; restarts and deployments stall on it"
        ),
        action="take the stacks of the process while the stop hangs (py-spy dump --pid PID)",
        evidence=evidence(lines),
    )
