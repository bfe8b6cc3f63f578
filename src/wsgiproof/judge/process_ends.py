"""What happens when a process ends: how often it crashes or hangs, and how often it may at most.

A crash at the end of a process does not happen each time. So each end is a trial. Two that went
well leave a probability of up to 78 %; from 14 on it is under 20 %. The limits are those of Clopper
and Pearson (1934), "The Use of Confidence or Fiducial Limits Illustrated in the Case of the
Binomial". They also hold if the trials end with a certain number of crashes.
"""

from __future__ import annotations

import math
import signal
from collections import defaultdict
from collections.abc import Callable

import msgspec

from wsgiproof.judge.finding import count
from wsgiproof.judge.hangs import aborted_without_time, lacked_time
from wsgiproof.records.cell import is_before_4
from wsgiproof.records.observed import Event, Observed, Role
from wsgiproof.records.plan import PhaseName

CONFIDENCE = 0.95
ENOUGH_CRASHES = 10
"""Crashes after which more trials would only say more exactly how often it crashes."""
ENDED_BY_APACHE = {signal.SIGTERM, signal.SIGKILL}
"""The signals with which Apache itself ends its children."""

_EXIT_BEFORE_4 = 255


class ProcessEnds(msgspec.Struct, frozen=True, kw_only=True):
    """The ends of processes that had run Python and were to end, by their pids.

    Those that say nothing are left out: their exit status is unknown, or they were killed and had
    no time to end, or they ended well but had not used all their interpreters.
    """

    clean: tuple[int, ...] = ()
    crashed: tuple[int, ...] = ()
    hung: tuple[int, ...] = ()
    """Apache or wsgiproof had to kill them."""

    @property
    def total(self) -> int:
        """How many ends there were."""
        return len(self.clean) + len(self.crashed) + len(self.hung)

    def rate(self, number: int, did: str) -> str:
        """Return how often a process ``did`` something at its end, as text.

        ``8 of 20 process ends crashed, 40 % (95 %: 19 to 64 %)``, or ``none of 14 process ends
        crashed: under 19.3 % each (95 %)``.
        """
        return rate_of(number, self.total, did)


def process_ends(observed: Observed) -> ProcessEnds:
    """Return how the processes ended that were to end."""
    ends: dict[str, list[int]] = {"clean": [], "crashed": [], "hung": []}
    used = in_use(observed)
    for death in observed.events:
        if is_end(observed, death) and (way := _way(observed, death)):
            if way == "clean" and death.pid not in used:
                continue
            ends[way].append(death.pid)
    return ProcessEnds(**{way: tuple(pids) for way, pids in ends.items()})


def in_use(observed: Observed) -> set[int]:
    """Return the processes that have used all their interpreters: none used more of them."""
    used: defaultdict[int, set[str]] = defaultdict(set)
    for one in observed.identities:
        used[one.pid].add(one.url)
    kinds = {frozenset(urls) for urls in used.values()}
    return {pid for pid, urls in used.items() if not any(urls < other for other in kinds)}


def is_end(observed: Observed, event: Event) -> bool:
    """Return whether this is the end of a process that had run Python and was to end.

    Apache ends those that it no longer needs, and those that have served as many requests as they
    may. mod_wsgi logs that it takes their interpreters down.
    """
    return (
        event.kind == "died"
        and event.role is Role.WORKER
        and (
            event.phase == PhaseName.STOP
            or is_requested(observed, event)
            or any(_begins_to_end(event.pid, line.text) for line in observed.log)
        )
    )


def _begins_to_end(pid: int, line: str) -> bool:
    """Return whether this is what mod_wsgi logs before it takes the interpreters of a process down:
    ``Destroying interpreters`` before 6, and then ``Destroying Python sub-interpreters``."""
    return f"[pid {pid}:" in line and " Destroying " in line and "interpreters" in line


def exit_status(observed: Observed, death: Event) -> int | None:
    """Return the exit status of a process, None if it is unknown.

    A daemon process of mod_wsgi before 4 always exits with 255. If the log says that Python has
    ended in it before, that is 0.
    """
    if death.exit != _EXIT_BEFORE_4:
        return death.exit
    old = any(is_before_4(one.mod_wsgi or "") for one in observed.identities)
    said = f"mod_wsgi (pid={death.pid}): Python has shutdown."
    ended = old and any(line.text.endswith(said) for line in observed.log)
    return 0 if ended else death.exit


def _way(observed: Observed, death: Event) -> str:
    if exit_status(observed, death) == 0 or death.signal == signal.SIGTERM:
        return "clean"
    if death.signal == signal.SIGKILL:
        return "" if lacked_time(observed, death) else "hung"
    if aborted_without_time(observed, death):
        return ""
    return "" if death.exit is death.signal is None else "crashed"


def is_requested(observed: Observed, death: Event) -> bool:
    """Return whether a process ended because wsgiproof had it replaced."""
    return any(
        death.pid in one.replaced and death.time >= one.time
        for one in (*observed.restarts, *observed.trials)
    )


def rate_of(number: int, total: int, did: str) -> str:
    """Return how often ``total`` process ends ``did`` something, as :meth:`ProcessEnds.rate`."""
    if not number:
        return none_of(total, "process end", did)
    low, high = (f"{100 * limit:.0f}" for limit in binomial_limits(number, total))
    share = f"{100 * number / total:.0f} %"
    ends = count(total, "process end")
    return f"{number} of {ends} {did}, {share} (95 %: {low} to {high} %)"


def none_of(total: int, what: str, did: str) -> str:
    """Return that none of ``total`` trials went wrong, and which probability that excludes."""
    return f"none of {count(total, what)} {did}: under {100 * bound_of(total):.3g} % each (95 %)"


def ends_needed(bound: float) -> int:
    """Return after how many good ends a probability above ``bound`` would have shown (95 %)."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - bound))


def bound_of(ends: int) -> float:
    """Return the probability that ``ends`` good ends exclude (95 %); 1 if there were none."""
    return float(1 - (1 - CONFIDENCE) ** (1 / ends)) if ends else 1.0


def more_ends(observed: Observed) -> int:
    """Return how many more ends are needed."""
    ends = process_ends(observed)
    if len(ends.crashed) + len(ends.hung) >= ENOUGH_CRASHES:
        return 0
    return max(0, ends_needed(observed.plan.crash_bound) - ends.total)


def binomial_limits(number: int, total: int) -> tuple[float, float]:
    """Return the 95 % limits of a probability, after ``number`` of ``total`` trials."""
    tail = (1 - CONFIDENCE) / 2

    def at_most(most: int) -> Callable[[float], float]:
        """Return the function from a probability to that of at most ``most`` of the trials."""
        return lambda p: sum(
            math.comb(total, k) * p**k * (1 - p) ** (total - k) for k in range(most + 1)
        )

    low = _solve(at_most(number - 1), 1 - tail) if number else 0.0
    high = _solve(at_most(number), tail) if number < total else 1.0
    return low, high


def chance_of_difference(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Return the probability of a difference as large as this, if both have the same probability.

    ``one`` and ``other`` are each a number of crashes and of ends. Fisher's exact test, two-sided.
    """
    number, total = one[0] + other[0], one[1] + other[1]

    def weight(first: int) -> int:
        return math.comb(one[1], first) * math.comb(other[1], number - first)

    most = weight(one[0])
    possible = range(max(0, number - other[1]), min(one[1], number) + 1)
    return sum(weight(k) for k in possible if weight(k) <= most) / math.comb(total, number)


def _solve(falling: Callable[[float], float], value: float) -> float:
    """Return where a function that falls from 0 to 1 has this value."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if falling(middle) > value:
            low = middle
        else:
            high = middle
    return low
