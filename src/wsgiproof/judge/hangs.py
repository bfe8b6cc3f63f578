"""The parts of a finding about processes that hang: in a request, at a stop or at a restart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from wsgiproof.judge import stacks
from wsgiproof.judge.finding import count, evidence, some
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Event, Observed, Stack
from wsgiproof.records.plan import PhaseName

UNREAD = "stacks: none could be read before the process was killed"

_STARVED = 0.5
"""The share of the time of a request without an answer: with more of it spent waiting for a
processor, a process could not have answered in time."""
_ABORTED = 255
_ABORTS = re.compile("Aborting process '|Shutdown timeout expired; aborting daemon process")
"""What a daemon process logs before 6.0, and since."""

LEAST_TIME_TO_END = 1.2
"""Seconds of the three that Apache gives a process: with less, a kill proves nothing."""


def had_no_time(seconds: float, waited: float, read: Sequence[Stack]) -> bool:
    """Return whether a process had too little time to end before it was killed.

    It was killed after ``seconds``. The seconds in which it ``waited`` for a processor, or was
    stopped for its stacks (``read``), do not count.
    """
    lost = waited + sum(one.stopped for one in read)
    return lost > LEAST_TIME_TO_END > seconds - lost


def lacked_time(observed: Observed, death: Event) -> bool:
    """Return whether a process that was to end, and was killed, had too little time for that."""
    read = [
        one
        for one in observed.stacks
        if one.why == "hang" and one.pid == death.pid and one.phase == death.phase
    ]
    if death.phase == PhaseName.STOP and observed.stop is not None:
        # Apache itself may need longer than the process that it killed.
        began = [one.started for one in observed.phases if one.name == PhaseName.STOP]
        seconds = min([observed.stop.seconds, *(death.time - one for one in began)])
        waited = observed.stop.processor_waits.get(death.pid, 0.0)
        return had_no_time(seconds, waited, read)
    return any(
        had_no_time(death.time - one.time, one.processor_waits.get(death.pid, 0.0), read)
        for one in (*observed.restarts, *observed.trials)
        if death.pid in one.replaced
    )


def aborted_without_time(observed: Observed, death: Event) -> bool:
    """Return whether mod_wsgi ended a daemon process itself that had too little time to end.

    The process logs that it is aborted, and exits with -1 (``wsgi_shutdown_thread`` of mod_wsgi).
    """
    return (
        death.exit == _ABORTED
        and any(
            _ABORTS.search(line.text) and f"[pid {death.pid}:" in line.text for line in observed.log
        )
        and lacked_time(observed, death)
    )


def was_starved(observed: Observed) -> bool:
    """Return whether processes could not have answered in time, as they got no processor."""
    return observed.starved > _STARVED


def no_time(number: int) -> str:
    """Return what evidence is missing about so many processes that :func:`had_no_time`."""
    return (
        f"{count(number, 'process was', 'processes were')} killed with less than "
        f"{LEAST_TIME_TO_END:g} seconds to end: the machine was busy, and waiting for a processor "
        "or reading stacks took the rest; try again on a less busy machine"
    )


def stuck_finding(
    check: str,
    seen: str,
    meaning: str,
    observed: Observed,
    pids: Sequence[int],
    read: Sequence[Stack],
) -> Finding:
    """Return the finding about processes (``pids``) that did not end, with their stacks."""
    blocked = stacks.blocked(read, observed.unfinished)
    lines = hung_evidence(observed, read) or [UNREAD]
    return Finding(
        check=check,
        seen=f"{seen}; blocked: {blocked}" if blocked else seen,
        meaning=meaning,
        action=hung_action(read, blocked),
        evidence=evidence([f"pids {some(pids, 10)}", *lines] if pids else []),
    )


def hung_action(read: Sequence[Stack], blocked: str) -> str:
    """Return what to do about processes that hang, given the stacks that were read of them."""
    if blocked:
        return "read the stacks: what do the blocked threads wait for, and which thread holds it?"
    how = "; ".join(stacks.notes(read))
    return "take the stacks of the process while it hangs (pystack remote PID --native-all)" + (
        f": {how}" if how else ""
    )


def hung_evidence(observed: Observed, read: Sequence[Stack]) -> list[str]:
    """Return who holds the GIL, where threads wait, their requests, and what is unknown."""
    return [
        *stacks.gil_lines(read),
        *stacks.examples(read, observed.unfinished),
        *request_lines(observed, [one.pid for one in read]),
        *(f"stacks: {note}" for note in stacks.notes(read)),
    ]


def request_lines(observed: Observed, pids: Sequence[int]) -> list[str]:
    """Return a line for each of these processes that was serving requests, with their URLs."""
    lines = []
    for pid in pids:
        urls = Counter(one.url for one in observed.unfinished if one.pid == pid)
        if urls:
            listed = some([f"{url} ({number} x)" for url, number in urls.most_common()])
            lines.append(f"pid {pid} was serving {count(urls.total(), 'request')}: {listed}")
    return lines
