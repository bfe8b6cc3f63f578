"""The check of what happens when processes are replaced at our request: restarts and reloads."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

from wsgiproof.cell import Cell, Mode
from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.hung import staying
from wsgiproof.judge.slope import theil_sen
from wsgiproof.records import Event, ExtraPhase, Finding, Observed, PhaseName, Restart, Role

REPLACING = frozenset({PhaseName.RESTART, PhaseName.RELOAD})
"""The phases in which processes are replaced at our request."""
_LATE = 1.0
"""Seconds by which a request may be refused later than the last process of before was seen to go:
it had been on its way."""
_ENOUGH = 20
"""Restarts before anything is said about the memory of Apache's parent."""
_MATERIAL = 2048
"""Bytes that it may grow by with each of them: half a page."""


def restart(cell: Cell, observed: Observed) -> Outcome:
    """Processes go when they are replaced, take their connections along, and no request is lost.

    What Apache promises of a graceful restart: a child ends when its request is done (httpd docs,
    "Stopping and Restarting"). In daemon mode a daemon process ends the requests that it has begun;
    those that still wait for one of its threads are refused by mod_wsgi until there is a new one,
    which no setting avoids (mod_wsgi docs, "WSGISocketRotation"). A reload refuses none.
    """
    restarts = observed.restarts
    if cell.mode is Mode.EMBEDDED and ExtraPhase.RESTART not in observed.plan.phases:
        return Outcome(skipped="in embedded mode a script is loaded again in the same process")
    if not restarts:
        return Outcome(missing="the experiment ended before a restart")
    findings = [*_requests(cell, restarts), *_processes(observed), *_connections(restarts)]
    findings += _parent(restarts)
    if findings:
        return Outcome(findings=tuple(findings))
    if not any(one.begun for one in restarts):
        return Outcome(missing="no request had begun before a restart")
    if not all(one.renewed for one in restarts):
        return Outcome(missing="no process that came after a restart has answered")
    return Outcome(passed=_told(restarts))


def _told(restarts: Sequence[Restart]) -> str:
    slowest = max(one.seconds for one in restarts)
    refused = sum(one.refused for one in restarts)
    begun = sum(one.begun for one in restarts)
    waiting = f"; {refused:,} that waited for the daemon process were refused" if refused else ""
    return (
        f"{count(len(restarts), 'time')}, all of before gone after {slowest:.1f} seconds at most; "
        f"{count(begun, 'request')} that had begun answered{waiting}"
    )


def _requests(cell: Cell, restarts: Sequence[Restart]) -> Iterator[Finding]:
    begun = sum(one.begun for one in restarts)
    broken = sum(one.broken for one in restarts)
    if broken:
        yield _finding(
            f"{broken:,} of {count(begun, 'request')} that had begun before a restart failed",
            "a process ended before its requests did: it died, or was not given the time",
            [_line(one) for one in restarts if one.broken],
        )
    lost = [one for one in restarts if one.refused and not _is_excused(cell, one)]
    if lost:
        requests = sum(one.requests for one in lost)
        yield _finding(
            f"{sum(one.refused for one in lost):,} of {count(requests, 'request')} around "
            f"{count(len(lost), 'restart')} failed",
            "new requests were lost, though there was a process to serve them",
            [_line(one) for one in lost],
        )


def _is_excused(cell: Cell, one: Restart) -> bool:
    """Whether requests were refused only while a daemon process was being replaced."""
    if cell.mode is not Mode.DAEMON or one.phase != PhaseName.RESTART:
        return False
    return one.last_refused is None or one.last_refused <= one.seconds + _LATE


def _processes(observed: Observed) -> Iterator[Finding]:
    left = [pid for one in observed.restarts for pid in one.leftover]
    if left:
        yield _staying(
            observed,
            left,
            f"{count(len(left), 'process', 'processes')} of before still there "
            f"{observed.plan.restart_deadline:.0f} seconds after a restart",
            "a process outlives its generation, with its memory and its connections: each restart "
            "adds another",
        )
    killed = [
        event.pid
        for event in observed.events
        if event.signal == signal.SIGKILL
        and event.phase in REPLACING  # at the stop it may have been us
        and event.role is not Role.HELPER
        and is_asked_for(observed, event)
    ]
    if killed:
        slowest = max(one.seconds for one in observed.restarts)
        yield _staying(
            observed,
            killed,
            f"{count(len(killed), 'process', 'processes')} did not end when replaced; Apache "
            f"killed them, up to {slowest:.1f} seconds after the restart",
            "an interpreter hangs while it shuts down, for a lock or a thread that it waits for; "
            "exit handlers did not finish",
        )


def _staying(observed: Observed, pids: Sequence[int], seen: str, meaning: str) -> Finding:
    """``pids`` did not go, and their stacks may have been taken meanwhile."""
    read = [one for one in observed.stacks if one.why == "hang" and one.pid in pids]
    return staying("restart", seen, meaning, observed, pids, read)


def is_asked_for(observed: Observed, death: Event) -> bool:
    """Whether a death is that of a process which a restart of ours replaced."""
    return any(death.pid in one.replaced and death.time >= one.time for one in observed.restarts)


def _connections(restarts: Sequence[Restart]) -> Iterator[Finding]:
    left = [one for one in restarts if one.orphaned]
    if left:
        most = max(one.orphaned or 0 for one in left)
        yield _finding(
            f"{count(most, 'connection')} on the deployment that no living process has, after "
            f"{count(len(left), 'restart')} of {len(restarts)}",
            "a process is gone and its connections are not: somebody else holds them, such as a "
            "process that it has started",
            [_line(one) for one in left],
        )


def _parent(restarts: Sequence[Restart]) -> Iterator[Finding]:
    points = [
        (number, one.parent_memory)
        for number, one in enumerate(restarts)
        if one.parent_memory is not None
    ]
    if len(points) < _ENOUGH:
        return
    slope = theil_sen(points[len(points) // 4 :])
    if slope.low > 0 and slope.rate >= _MATERIAL:
        yield _finding(
            f"Apache's parent process grows by {slope.rate:,.0f} bytes with each restart "
            f"({slope.low:,.0f} to {slope.high:,.0f})",
            "a module leaks memory where the parent loads it anew, and every child inherits that",
            [f"{value:,} bytes after restart {number + 1}" for number, value in points[::10]],
        )


def _line(one: Restart) -> str:
    last = "" if one.last_refused is None else f", the last after {one.last_refused:.2f} s"
    return (
        f"{one.phase}: {len(one.replaced) - len(one.leftover)} of {len(one.replaced)} processes "
        f"gone after {one.seconds:.2f} s; "
        f"{one.broken} of {one.begun} begun requests failed, {one.refused} of "
        f"{one.requests - one.begun} others{last}; {one.orphaned} orphaned connections"
    )


def _finding(seen: str, meaning: str, lines: Sequence[str]) -> Finding:
    return Finding(
        check="restart",
        seen=seen,
        meaning=meaning,
        action="look at the error log from the restart on; compare with --topology none, where "
        "PyMongo has no connections",
        evidence=evidence(lines),
    )
