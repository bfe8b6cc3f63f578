"""An invented server whose processes come and go with the load, as those of Apache's prefork do."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tests.unit.factories import URLS, observed
from tests.unit.pool_model import COUNTED, PARTS, PLAN, Model
from tests.unit.pool_model import Kind as AnyKind
from wsgiproof.experiment.diagnosis import _AGED as AGED
from wsgiproof.judge import leak_load
from wsgiproof.records.observed import Confirmation, Observed, ProcessSample, Role, Sample
from wsgiproof.records.plan import LoadPlan, PhaseName

MOST = 16
MOST_SETTLED = 5


class Kind(AnyKind, frozen=True, kw_only=True):
    """What a healthy application does with the count of each of its processes."""

    lives: int = 60
    """Requests that a process answers on the average."""
    most: int = 0
    """Units that each process opens, one in each of so many requests: a cache that fills."""
    each: int = 3
    late: int = 0
    """Each interpreter opens something in the request of this number; 0: never."""
    alone: int = 4
    """Processes that are there where requests come one after the other."""
    rate: float = 60.0


class Process:
    def __init__(self, pid: int, clock: float) -> None:
        self.pid, self.born = pid, clock
        self.served = [0] * len(URLS)
        self.since: float | None = None
        self.opened = self.leaked = 0
        self.ends: list[float] = []
        self.ending = False

    def value(self, kind: Kind, clock: float) -> int:
        used = sum(one > 0 for one in self.served)
        # The last of three units of an interpreter is opened by a thread, a while later.
        value = 1 + 2 * used + used * (clock - self.born > 0.8)
        value += sum(one >= kind.late for one in self.served) if kind.late else 0
        value += min(kind.most, sum(self.served) // kind.each)
        value += self.leaked + self.opened + sum(end > clock for end in self.ends)
        return 1 if self.ending else value


class Breathing(Model):
    """One run. ``leak`` is the chance of each request to leave a unit behind in its process."""

    kind: Kind

    def __init__(self, kind: Kind, leak: float, seed: int, plan: LoadPlan = PLAN) -> None:
        super().__init__(kind, 0.0, seed, plan)
        self.leak = leak
        self.pids = 0
        self.processes: list[Process] = []
        self.settled: list[Sample] = []
        self.just_drained = -1
        self.alone = self.stay = False
        self.chance = random.Random(seed)

    def load(self) -> Iterator[tuple[PhaseName, int]]:
        sizes = [size for _, size in super().load()]
        for number, size in enumerate(sizes):
            self.alone = number > len(sizes) * 2 // 3
            yield (PhaseName.SERIAL if self.alone else PhaseName.PARALLEL), size
        self.alone = False

    def settle(self, samples: list[Sample], drained: list[Sample]) -> None:
        needed = leak_load.to_settle(COUNTED, self.seen(samples, drained))
        if not needed:
            return
        self.alone = self.stay = True
        del self.processes[self.kind.alone :]
        for one in self.processes:
            one.opened = self.kind.fills
        while any(sum(one.served) < AGED for one in self.processes):
            self.serve(self.plan.round)
        self.settled = [self.sample(PhaseName.DIAGNOSIS)]
        left = MOST_SETTLED * PARTS
        while True:
            seen = self.seen(samples, drained)
            if left and leak_load.to_settle(COUNTED, seen):
                self.serve(-(-needed // PARTS))
                left -= 1
            elif leak_load.growing(COUNTED, seen) and self.settled[-1].requests > self.just_drained:
                self.clock += self.plan.drain
                self.just_drained = self.requests
            else:
                break
            self.settled.append(self.sample(PhaseName.DIAGNOSIS))

    def serve(self, requests: int) -> None:
        """Answer requests; processes start and end before some of them."""
        while requests > 0:
            self.breathe()
            part = min(requests, 50)
            self.answer(part)
            requests -= part

    def breathe(self) -> None:
        kind, chance = self.kind, self.chance
        wanted = kind.alone if self.alone else chance.randint(6, MOST)
        while len(self.processes) < wanted:
            self.pids += 1
            self.processes.append(Process(self.pids, self.clock))
        for one in self.processes:
            if kind.fills and not one.served[0]:  # each gets some of the requests that fill pools
                one.opened = chance.randint(0, kind.fills)
                one.served = [1, 1]

    def answer(self, requests: int) -> None:
        kind, chance = self.kind, self.chance
        weights = [chance.random() for _ in self.processes]
        for _ in range(requests):
            self.clock += 1 / kind.rate
            (one,) = chance.choices(self.processes, weights)
            one.served[chance.randrange(len(URLS))] += 1
            one.leaked += chance.random() < self.leak
            one.opened += one.opened < kind.fills and chance.random() < 1 / 20
            if chance.random() < kind.temporary:
                one.ends.append(self.clock + kind.life)
        self.requests += requests

    def sample(self, phase: PhaseName) -> Sample:
        self.clock += 0.05
        readings = []
        for one in self.processes:
            one.ending = self.ends_now(one)
            if one.since is None and all(one.served):
                one.since = self.clock
            filled = one.since is not None and self.clock - one.since >= 1.0
            value = one.value(self.kind, self.clock) - self.chance.randint(0, self.kind.jitter)
            readings.append(
                ProcessSample(
                    pid=one.pid,
                    role=Role.WORKER,
                    descriptors=8,
                    threads=value,
                    connections=0,
                    requests=sum(one.served),
                    comparable=filled and not one.ending,
                )
            )
        self.processes = [one for one in self.processes if not one.ending]
        return Sample(
            phase=phase,
            time=self.clock,
            requests=self.requests,
            processes=tuple(readings),
            counts={"connections": 0, "cursors": 0, "sessions": 0},
        )

    def ends_now(self, one: Process) -> bool:
        """Whether a process is about to end; the older it is, the more likely."""
        return not self.stay and self.chance.random() < sum(one.served) / self.kind.lives / 8

    def seen(
        self,
        samples: list[Sample],
        drained: list[Sample] | None = None,
        confirmations: Sequence[Confirmation] | None = None,
    ) -> Observed:
        return observed(
            plan=self.plan,
            workers=(MOST, 1),
            samples=tuple(samples),
            drained=tuple(drained or ()),
            settled=tuple(self.settled),
            confirmations=tuple(confirmations or ()),
        )
