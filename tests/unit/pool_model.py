"""A server that is invented: pools that are full, what lives for a while, and a leak.

It goes through the phases as a real one does, and the judge decides the same questions on the way.
Nothing waits: its clock is a number.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator

import msgspec

from tests.cells import configured
from tests.unit.factories import RESOURCES, observed, reading
from wsgiproof.experiment.load import rounds
from wsgiproof.judge import leak_load
from wsgiproof.judge.resources import growth
from wsgiproof.records.observed import Confirmation, Observed, Sample
from wsgiproof.records.plan import LoadPlan, PhaseName

PLAN = configured().plan()
POOL = 30
DRAINS, ENOUGH_TO_DRAIN = 3, 3000
PARTS, MOST_PARTS = 4, 8
THREADS = RESOURCES["threads"]
COUNTED = {"threads": THREADS}


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What a healthy application does with a count."""

    temporary: float = 0.0
    """Units that each request begins, on the average, and that end by themselves."""
    life: float = 3.0
    """Seconds that each of them lives."""
    jitter: int = 0
    """By how much the pool may be smaller in a sample."""
    fills: int = 0
    """Units that its pool still lacks, each of which a request opens with a chance of 1 in 200."""
    rate: float = 500.0
    """Requests per second."""


class Model:
    """One run. ``leak`` is the chance of each request to leave a unit behind for ever."""

    def __init__(self, kind: Kind, leak: float, seed: int, plan: LoadPlan = PLAN) -> None:
        self.kind, self.plan = kind, plan
        self.chance = random.Random(seed)
        self.clock, self.requests = 0.0, 0
        self.missing = kind.fills
        self.ends: list[float] = []
        self.moments = self.at_random(leak)

    def at_random(self, chance: float) -> list[float]:
        """Return the numbers of the requests that leave a unit."""
        moments = [0.0]
        while chance and moments[-1] < 50 * self.plan.parallel:
            moments.append(moments[-1] + self.chance.expovariate(chance))
        return moments[1:]

    def serve(self, requests: int) -> None:
        gap = 1 / self.kind.rate
        if self.kind.temporary:
            begun = int(requests * self.kind.temporary)
            self.ends += [
                self.clock + gap * requests * number / begun + self.kind.life
                for number in range(begun)
            ]
        self.missing = sum(
            self.chance.random() < (1 - 1 / 200) ** requests for _ in range(self.missing)
        )
        self.clock += gap * requests
        self.requests += requests

    def sample(self, phase: PhaseName) -> Sample:
        self.clock += 0.05
        living = len(self.ends) - bisect(self.ends, self.clock)
        pool = POOL - self.missing - self.chance.randint(0, self.kind.jitter)
        value = pool + bisect(self.moments, self.requests) + living
        return Sample(
            phase=phase,
            time=self.clock,
            requests=self.requests,
            counts={"connections": 28, "cursors": 0, "sessions": 32},
            processes=(reading(threads=value),),
        )

    def run(self) -> Observed:
        """Return what the phases up to the diagnosis measure; none ends early here."""
        plan = self.plan
        self.serve(plan.warm_up)
        samples = [self.sample(PhaseName.WARM_UP)]
        for phase, size in self.load():
            self.serve(size)
            samples.append(self.sample(phase))
        samples += self.cool_down(samples)
        left = plan.extra_requests
        while left and (more := self.more(samples, left)):
            left -= more
            for size in rounds(more, plan.round):
                self.serve(size)
                samples.append(self.sample(PhaseName.EXTRA_LOAD))
            samples += self.cool_down(samples)
        drained = samples[-1:]
        size = (plan.parallel + plan.serial) // 2
        for _ in range(DRAINS):
            if not leak_load.to_drain(COUNTED, self.seen(samples, drained)):
                break
            self.serve(size)
            size = max(size, min(2 * size, ENOUGH_TO_DRAIN))
            self.clock += plan.drain
            drained.append(self.sample(PhaseName.DIAGNOSIS))
        self.settle(samples, drained)
        confirmations: list[Confirmation] = []
        if suspects := leak_load.to_confirm(COUNTED, self.seen(samples, drained)):
            self.fill()
            full, least = [self.sample(PhaseName.DIAGNOSIS)], max(suspects.values())
            while growth(THREADS, full)[0] < least and len(full) <= MOST_PARTS:
                self.serve(-(-least // PARTS))
                full.append(self.sample(PhaseName.DIAGNOSIS))
            requests, units = growth(THREADS, full)
            confirmations = [Confirmation(check="threads", requests=requests, units=units)]
        return self.seen(samples, drained, confirmations)

    def load(self) -> Iterator[tuple[PhaseName, int]]:
        for requests in (self.plan.parallel, self.plan.serial):
            yield from ((PhaseName.PARALLEL, size) for size in rounds(requests, self.plan.round))

    def settle(self, samples: list[Sample], drained: list[Sample]) -> None:
        """Make requests to processes that stay; here they always do."""

    def fill(self) -> None:
        self.missing = 0

    def more(self, samples: list[Sample], left: int) -> int:
        """Return how many requests to add, if at most ``left`` may be."""
        seen = self.seen(samples)
        needed = [*leak_load.more_to_decide(COUNTED, seen), *leak_load.more_to_show(COUNTED, seen)]
        return min(left, max(needed, default=0))

    def cool_down(self, samples: list[Sample]) -> Iterator[Sample]:
        self.clock += self.plan.cool_down
        after = self.sample(PhaseName.COOL_DOWN)
        yield after
        if leak_load.growing(COUNTED, self.seen([*samples, after])):
            self.clock += self.plan.drain
            yield self.sample(PhaseName.COOL_DOWN)

    def seen(
        self,
        samples: list[Sample],
        drained: list[Sample] | None = None,
        confirmations: list[Confirmation] | None = None,
    ) -> Observed:
        return observed(
            plan=self.plan,
            samples=tuple(samples),
            drained=tuple(drained or ()),
            confirmations=tuple(confirmations or ()),
        )
