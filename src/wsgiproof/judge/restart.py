"""The check of graceful restarts and reloads, in which wsgiproof has processes replaced."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.hangs import lacked_time, no_time, stuck_finding
from wsgiproof.judge.process_ends import is_requested, none_of
from wsgiproof.judge.slope import theil_sen
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Event, Observed, Restart, Role
from wsgiproof.records.plan import REPLACING, ExtraPhase, PhaseName

_LATE = 1.0
"""Seconds after the last replaced process ended within which a request may still be refused: it
was already on its way."""
_MOST_TIMES = 3
"""How many times as many restarts as planned there may be."""
_ENOUGH = 20
"""Restarts that are needed to judge the memory of Apache's parent."""
_SAME_PROCESS = "embedded mode reloads a script in the same process"
_MATERIAL = 2048
"""Bytes per restart by which it may grow: half a page."""


def restart(cell: Cell, observed: Observed) -> Outcome:
    """Replaced processes end and close their connections, and no request is lost.

    In a graceful restart a child ends when its request is done (httpd docs, "Stopping and
    Restarting"). In daemon mode a daemon process finishes the requests that it has begun. mod_wsgi
    refuses those that still wait for one of its threads until there is a new daemon process, which
    no setting avoids (mod_wsgi docs, "WSGISocketRotation"). A reload refuses no request.
    """
    restarts = observed.restarts
    if cell.mode is Mode.EMBEDDED and ExtraPhase.RESTART not in observed.plan.phases:
        return Outcome(skipped=_SAME_PROCESS)
    if not restarts:
        return Outcome(missing="the experiment ended before a restart")
    killed = _killed(observed)
    hurried = _hurried(observed, killed)
    stuck = [event.pid for event in killed if event not in hurried]
    findings = [*_requests(cell, restarts), *_processes(observed, stuck), *_connections(restarts)]
    findings += _parent(restarts)
    if findings:
        return Outcome(findings=tuple(findings))
    tell = _that_tell(restarts, hurried)
    if hurried and len(tell) < observed.plan.restarts * len({one.phase for one in restarts}):
        return Outcome(missing=no_time(len(hurried)))
    if not any(one.begun for one in restarts):
        return Outcome(missing="no request had begun before a restart")
    if not all(one.renewed for one in restarts):
        return Outcome(missing="no process that started after a restart has answered")
    return Outcome(passed=_passed(restarts, tell) + _not_reloaded(cell, observed))


def more_restarts(observed: Observed, phase: str) -> int:
    """Return how many restarts have to follow in this phase.

    One that tells nothing, since Apache killed a process that had no time to end, is followed by
    another, until there are three times as many as planned.
    """
    planned = observed.plan.restarts
    made = [one for one in observed.restarts if one.phase == phase]
    if len(made) < planned:
        return planned - len(made)
    lacking = planned - len(_that_tell(made, _hurried(observed, _killed(observed))))
    return max(0, min(lacking, _MOST_TIMES * planned - len(made)))


def _hurried(observed: Observed, killed: Sequence[Event]) -> list[Event]:
    """Return the deaths of those that had no time to end."""
    return [event for event in killed if lacked_time(observed, event)]


def _that_tell(restarts: Sequence[Restart], hurried: Sequence[Event]) -> list[Restart]:
    """Return the restarts in which each process had the time to end."""
    pids = {event.pid for event in hurried}
    return [one for one in restarts if pids.isdisjoint(one.replaced)]


def _not_reloaded(cell: Cell, observed: Observed) -> str:
    """Return a note for a reload that was asked for and can't be."""
    asked = ExtraPhase.RELOAD in observed.plan.phases
    return f"; no reload: {_SAME_PROCESS}" if asked and cell.mode is Mode.EMBEDDED else ""


def _passed(restarts: Sequence[Restart], tell: Sequence[Restart]) -> str:
    """``tell`` are the restarts in which each process had the time to end."""
    slowest = max(one.seconds for one in tell)
    refused = sum(one.refused for one in restarts)
    begun = sum(one.begun for one in restarts)
    hurried = len(restarts) - len(tell)
    killed = f"; in {hurried:,} more, a process had no time to end" if hurried else ""
    waiting = f"; {refused:,} that waited for the daemon process were refused" if refused else ""
    return (
        f"{count(len(tell), 'restart')}: all replaced processes ended within {slowest:.1f} "
        f"seconds{killed}; {count(begun, 'request')} in flight answered{waiting}; "
        f"{none_of(len(restarts), 'restart', 'lost a request')}"
    )


def _requests(cell: Cell, restarts: Sequence[Restart]) -> Iterator[Finding]:
    begun = sum(one.begun for one in restarts)
    broken = sum(one.broken for one in restarts)
    if broken:
        yield _finding(
            f"{broken:,} of {count(begun, 'request')} that had begun before a restart failed",
            "a process ended before its requests did: it crashed, or was killed too early",
            [_line(one) for one in restarts if one.broken],
        )
    lost = [one for one in restarts if one.refused and not _is_excused(cell, one)]
    if lost:
        requests = sum(one.requests for one in lost)
        yield _finding(
            f"{sum(one.refused for one in lost):,} of {count(requests, 'request')} around "
            f"{count(len(lost), 'restart')} failed",
            "new requests were lost although there was a process to serve them",
            [_line(one) for one in lost],
        )


def _is_excused(cell: Cell, one: Restart) -> bool:
    """Return whether requests were refused only while a daemon process was being replaced."""
    if cell.mode is not Mode.DAEMON or one.phase != PhaseName.RESTART:
        return False
    return one.last_refused is None or one.last_refused <= one.seconds + _LATE


def _processes(observed: Observed, killed: Sequence[int]) -> Iterator[Finding]:
    """``killed`` are the processes that Apache killed although they had time to end."""
    left = [pid for one in observed.restarts for pid in one.leftover]
    if left:
        yield _stuck(
            observed,
            left,
            f"{count(len(left), 'replaced process', 'replaced processes')} still ran "
            f"{observed.plan.restart_deadline:.0f} seconds after a restart",
            "a replaced process stays, with its memory and its connections; each restart adds "
            "another",
        )
    if killed:
        slowest = max(one.seconds for one in observed.restarts)
        yield _stuck(
            observed,
            killed,
            f"{count(len(killed), 'process', 'processes')} did not end when replaced; Apache "
            f"killed them up to {slowest:.1f} seconds after the restart",
            "an interpreter hangs while it shuts down: it waits for a lock or a thread; exit "
            "handlers did not finish",
        )


def _killed(observed: Observed) -> list[Event]:
    """Return the deaths of the processes that Apache killed because they did not end."""
    return [
        event
        for event in observed.events
        if event.signal == signal.SIGKILL
        and event.phase in REPLACING  # at the stop wsgiproof may have sent it
        and event.role is not Role.HELPER
        and is_requested(observed, event)
    ]


def _stuck(observed: Observed, pids: Sequence[int], seen: str, meaning: str) -> Finding:
    """``pids`` are the processes that did not end, and whose stacks may have been read."""
    read = [one for one in observed.stacks if one.why == "hang" and one.pid in pids]
    return stuck_finding("restart", seen, meaning, observed, pids, read)


def _connections(restarts: Sequence[Restart]) -> Iterator[Finding]:
    left = [one for one in restarts if one.orphaned]
    if left:
        most = max(one.orphaned or 0 for one in left)
        yield _finding(
            f"{count(most, 'connection')} on the deployment that no living process has, after "
            f"{len(left)} of {count(len(restarts), 'restart')}",
            "a process has ended but its connections are open: another process holds them, such "
            "as one that it started",
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
            f"({slope.low:,.0f} to {slope.high:,.0f}, 95 %)",
            "a module leaks memory when the parent reloads it, and every child inherits that",
            [f"{value:,} bytes after restart {number + 1}" for number, value in points[::10]],
        )


def _line(one: Restart) -> str:
    last = "" if one.last_refused is None else f", the last after {one.last_refused:.2f} s"
    return (
        f"{one.phase}: {len(one.replaced) - len(one.leftover)} of {len(one.replaced)} processes "
        f"ended within {one.seconds:.2f} s; "
        f"{one.broken} of {one.begun} requests that had begun failed, {one.refused} of "
        f"{one.requests - one.begun} others{last}; {one.orphaned} orphaned connections"
    )


def _finding(seen: str, meaning: str, lines: Sequence[str]) -> Finding:
    return Finding(
        check="restart",
        seen=seen,
        meaning=meaning,
        action="read the error log from the restart on; compare with a cell without a deployment, "
        "in which there are no connections to one",
        evidence=evidence(lines),
    )
