"""Counts over the requests served, of one process, of the backend, or of many processes together.

Where processes come and go, each has too few requests of its own to show a leak. So what each has
gained is put together, over what all have served. A pool or a cache fills in the first requests of
each process and then stops, while a leak goes on for as long as a process lives. So the requests
are put in order by the age of their process: the place of a rise is the number of requests that
all processes had served up to that age (the total time on test; Barlow and Campbell 1975, "Total
time on test processes and applications to failure data analysis"). At a constant rate the rises are
evenly spread over it, and those of what fills come early.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

import msgspec

_ROUNDS = 24
"""Points of a series of many processes, as many as a usual load has samples."""
_MOST_NAMED = 8
"""Processes that the evidence names."""


class Step(msgspec.Struct, frozen=True):
    """A rise of a floor: its place in the series (0 to 1), and its units."""

    at: float
    units: int


class Series(msgspec.Struct, frozen=True):
    """One count over the requests served, as ``(requests, value)`` pairs in order."""

    what: str
    points: tuple[tuple[int, int], ...]
    lives: tuple[Series, ...] = ()
    """The processes that it puts together, each over its own requests; empty for any other."""

    @property
    def floor(self) -> list[int]:
        """Return, for each point, the least value from there on."""
        values = [value for _, value in self.points]
        return list(accumulate(reversed(values), min))[::-1]

    def steps(self) -> list[Step]:
        """Return the rises of the floor; none if they do not lead to a new high."""
        floor = self.floor
        earlier = [value for _, value in self.points[: (len(self.points) + 1) // 2]]
        if floor[-1] <= max(earlier):
            return []
        first, last = self.points[0][0], self.points[-1][0]
        return [
            Step((self.points[number + 1][0] - first) / max(1, last - first), after - before)
            for number, (before, after) in enumerate(pairwise(floor))
            if after > before
        ]

    @property
    def noise(self) -> float:
        """Return the variance of a random walk that rises as often as this falls, by as much.

        The largest fall is left out: it may be the end of one large rise.
        """
        falls = [before - after for (_, before), (_, after) in pairwise(self.points)]
        return 2.0 * sum(fall**2 for fall in sorted(falls)[:-1] if fall > 0)

    def rounds(self) -> list[tuple[int, int]]:
        """Return for each round its requests, and the units by which the floor rises in it."""
        rising = bool(self.steps())
        return [
            (later - earlier, (after - before) * rising)
            for ((earlier, _), (later, _)), (before, after) in zip(
                pairwise(self.points), pairwise(self.floor), strict=True
            )
        ]

    @property
    def units(self) -> int:
        """By how many units the floor rises; 0 if it reaches no new high."""
        return sum(step.units for step in self.steps())

    def under_load(self) -> Series:
        """Return the series without the points after an idle time."""
        if self.lives:
            return pooled(self.what, [one.under_load() for one in self.lives])
        busy = [after for before, after in pairwise(self.points) if after[0] > before[0]]
        return Series(self.what, (*self.points[:1], *busy))

    @property
    def gone(self) -> int:
        """Units that were there at the end of the load and gone after the idle time."""
        # Of many processes, some have more and some have less, if their counts only vary.
        lives = self.lives or (self,)
        loaded = sum(one.under_load().points[-1][1] for one in lives)
        return max(0, loaded - sum(one.points[-1][1] for one in lives))

    @property
    def gained(self) -> int:
        """By how many units the last point is above the first; less than 0 if it is below."""
        return self.points[-1][1] - self.points[0][1]

    @property
    def span(self) -> int:
        """The requests from the first point to the last."""
        return self.points[-1][0] - self.points[0][0]

    @property
    def hidden(self) -> int:
        """Units that the count varies by without a drain: a leak of fewer would not be seen."""
        return max(value - least for (_, value), least in zip(self.points, self.floor, strict=True))

    def describe(self) -> str:
        """Return all points as text, or the processes that grew most, for the evidence."""
        if self.lives:
            grown = sorted(self.lives, key=lambda one: -one.gained)[:_MOST_NAMED]
            return f"{self.what}: {', '.join(map(_as_text, grown))}"
        return f"{self.what}: " + ", ".join(f"{value}@{at}" for at, value in self.points)


def _as_text(life: Series) -> str:
    return f"{life.gained:+} in {life.span} requests of {life.what}"


def pooled(what: str, lives: Sequence[Series]) -> Series:
    """Return what all processes have gained together, over the requests that all have served.

    ``lives`` has a series for each process, over its own requests, from the first point at which
    only a leak can make it grow. The series begins at 0.
    """
    lives = tuple(one for one in lives if one.span)
    spans = sorted(one.span for one in lives)
    ended = [0, *accumulate(spans)]

    def served(age: int) -> int:
        """Return the requests that all processes have served up to this age."""
        over = bisect_left(spans, age)
        return ended[over] + (len(spans) - over) * age

    gains = sorted(
        (served(at - one.points[0][0]), after - before)
        for one in lives
        for (_, before), (at, after) in pairwise(one.points)
    )
    rounds = max(1, min(_ROUNDS, ended[-1]))
    ends = [ended[-1] * number // rounds for number in range(rounds + 1)]
    values = [0] * len(ends)
    for at, gain in gains:
        values[bisect_left(ends, at)] += gain
    return Series(what, tuple(zip(ends, accumulate(values), strict=True)), lives)
