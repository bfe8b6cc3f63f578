"""Puts the server under load, and counts each answer."""

from __future__ import annotations

import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from wsgiproof.errors import ServiceFailed
from wsgiproof.experiment.commands import Commands
from wsgiproof.load import engine
from wsgiproof.load.response import Response
from wsgiproof.load.statistics import Histogram
from wsgiproof.load.target import Target
from wsgiproof.load.timeline import LoadTimelineRecorder
from wsgiproof.observe.answers import AgentReport, AnswerCollector, NoReport, report_of
from wsgiproof.observe.echoes import REQUEST_ID, Echoes, RequestIds
from wsgiproof.observe.starvation import Starvation
from wsgiproof.provision.toolchain import Application
from wsgiproof.records.plan import LoadPlan
from wsgiproof.records.traffic import Latencies, LoadTimeline, Outcome
from wsgiproof.server.apache import Server

T = TypeVar("T")

_MOST_FAILURES = 100
"""The load ends after this many failed requests, since more would show nothing new."""
_MOST_HUNG = 3
"""The same for requests without an answer, each of which takes its whole deadline."""
_MEASURED_WITHIN = 60.0
"""Seconds for one measurement: counting the objects of a large application takes a while."""
MOST_FILLS = 8
_FIRST_ROUND = 50
"""Requests of the first round: a leak in every request shows after a few of them."""


class Load:
    """The requests of one experiment, and their answers.

    ``application`` is that of the server: its secret makes it accept ``commands``. ``on_hang`` is
    called for each request that gets no answer within its deadline; ``starvation`` says whether it
    could have had one.
    """

    def __init__(
        self,
        server: Server,
        plan: LoadPlan,
        application: Application,
        on_hang: Callable[[], None],
        starvation: Starvation,
    ) -> None:
        self._server = server
        self._plan = plan
        self._on_hang = on_hang
        self._starvation = starvation
        self.starved = 0.0
        """The largest share of its time for which a process waited for a processor while a request
        had no answer."""
        self._random = random.Random(plan.seed)
        self._serving: defaultdict[str, float] = defaultdict(float)
        self.commands = Commands(application.secret)
        self._subject = application.identity
        self._attached = application.attached
        self.targets = [self.commands.target(url) for url in server.urls]
        self.answers = AnswerCollector()
        self._expected = 0
        self._expected_body = re.compile(plan.expect_body.encode())
        self._not_measured = ""
        self._histograms: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self._timeline = LoadTimelineRecorder()
        self._ids = RequestIds()
        self.echoes = Echoes(self._ids)

    def mixed(self, requests: int, connections: int) -> None:
        """Make ``requests`` requests, each to a URL chosen at random."""
        self._parallel(lambda: self._random.choice(self.targets), requests, connections)

    def paced(
        self,
        pick: Callable[[], Target],
        rate: float,
        stop: Callable[[], bool],
        on_failure: Callable[[Response], None],
        *,
        on_success: Callable[[Response, AgentReport], None] = lambda response, report: None,
        connections: int | None = None,
        deadline: float | None = None,
    ) -> None:
        """Make ``rate`` requests per second, each to what ``pick()`` returns, until ``stop()``.

        At most ``connections`` are in flight, with ``deadline`` seconds each. Both default to those
        of the parallel phase.
        """

        def account(response: Response) -> None:
            report = self._account(response)
            if report is None:
                on_failure(response)
            else:
                on_success(response, report)

        with self._timed():
            engine.paced(
                lambda: self._with_id(pick()),
                rate=rate,
                requests=None,
                connections=connections or self._plan.connections,
                timeout=deadline or self._plan.request_deadline,
                on_response=account,
                stop=stop,
            )

    def to(self, target: Target, requests: int, connections: int) -> None:
        """Make ``requests`` requests to one URL."""
        self._parallel(lambda: target, requests, connections)

    def burst(self, targets: Sequence[Target], deadline: float) -> None:
        """Make all of these requests at the same time, with ``deadline`` seconds each."""
        with self._timed():
            engine.burst([*map(self._with_id, targets)], deadline, on_response=self._account)

    def ask(self, targets: Sequence[Target]) -> list[AgentReport]:
        """Make requests for measurements at the same time, and return their reports.

        They do not count as requests of the load: what a measurement takes is not the subject's
        time. One that fails ends the load.
        """
        reports: list[AgentReport] = []

        def take(response: Response) -> None:
            try:
                report = report_of(response.head, self._subject)
            except NoReport as error:
                self._not_measured = response.error or str(error)
                if response.outcome is Outcome.TIMEOUT:
                    self._on_hang()
            else:
                self.answers.note_number(report)
                reports.append(report)

        engine.burst([*map(self._with_id, targets)], _MEASURED_WITHIN, on_response=take)
        return reports

    def hopeless(self) -> str:
        """Return why more requests would show nothing new; empty if they would."""
        if not self._server.alive():
            return "Apache's parent process ended on its own"
        if self.unexpected >= _MOST_FAILURES:
            return f"{self.unexpected} requests failed"
        if self.answers.kinds[Outcome.TIMEOUT] >= _MOST_HUNG:
            return f"{self.answers.kinds[Outcome.TIMEOUT]} requests had no answer"
        if self._not_measured:
            return f"a measurement inside the application failed: {self._not_measured}"
        return ""

    @property
    def unexpected(self) -> int:
        """How many requests have failed that were not expected to."""
        return self.answers.failed - self._expected

    def expect(self, failures: int) -> None:
        """Count this many of the failed requests as expected, so that they do not end the load."""
        self._expected += failures

    def seconds(self, *phases: str) -> float:
        """Return the seconds with requests in flight, in these phases or (default) in all."""
        return sum(self._serving[phase] for phase in phases or tuple(self._serving))

    def _parallel(self, pick: Callable[[], Target], requests: int, connections: int) -> None:
        def account(response: Response) -> None:
            if self._account(response) is not None:
                self.echoes.add(response, alone=connections == 1)

        with self._timed():
            engine.parallel(
                lambda: self._with_id(pick()),
                requests=requests,
                connections=connections,
                timeout=self._plan.request_deadline,
                on_response=account,
                stop=lambda: bool(self.hopeless()),
            )

    def _with_id(self, target: Target) -> Target:
        """Return the target of one request: with an X-Request-ID, which is its label if it has no
        other."""
        name = self._ids.next()
        return target.with_header(REQUEST_ID, name, label=target.label or name)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        self._starvation.begin()
        started = time.monotonic()
        yield
        self._serving[self.answers.phase] += time.monotonic() - started

    def latencies(self) -> tuple[Latencies, ...]:
        """Return the latencies of answered requests, for each phase and URL."""
        return tuple(
            one.latencies(url, phase=phase) for (phase, url), one in self._histograms.items()
        )

    def timeline(self) -> LoadTimeline | None:
        """Return the load over time; None if there were no requests."""
        return self._timeline.timeline()

    def _account(self, response: Response) -> AgentReport | None:
        """Count an answer; return the report in it, or None if it is not right."""
        report, kind, error = self._judge(response)
        self._timeline.add(
            response.started + response.seconds,
            response.seconds,
            answered=response.status is not None,
            failed=report is None,
        )
        if response.outcome is Outcome.TIMEOUT:
            self.starved = max(self.starved, self._starvation.share())
            self._on_hang()
        if response.status is not None:
            self._histograms[self.answers.phase, response.url].add(response.seconds)
        if report is None:
            self.answers.failure(kind, response.url, response.status, error, response.body)
        else:
            body = (response.body_size, response.body_digest)
            self.answers.success(response.url, body, report)
        return report

    def _judge(self, response: Response) -> tuple[AgentReport | None, str, str]:
        """Return the report in a right answer; of others the kind of failure, and a line on it."""
        expected = response.status in self._plan.expect_status
        if response.outcome is not Outcome.OK and not (
            response.outcome is Outcome.STATUS and expected
        ):
            return None, response.outcome, response.error
        try:
            report = report_of(response.head, self._subject)
        except NoReport as missing:
            if self._attached:
                raise ServiceFailed(
                    f"{response.url} was answered without the probe: mod_wsgi has no script there, "
                    "or one that imports nothing, with which the probe can't be loaded"
                ) from None
            return None, Outcome.NO_REPORT, str(missing)
        if self._expected_body.search(response.body) is None:
            return (
                None,
                Outcome.INVALID_BODY,
                f"nothing in the body matches {self._plan.expect_body!r}",
            )
        return report, "", ""


def until_full(fill: Callable[[], None], count: Callable[[], T], most: int = MOST_FILLS) -> T:
    """Fill the pools until that no longer changes the ``count``, and return the count.

    ``most`` is how often they are filled at most.

    One attempt is not always enough. Soon after an election, a hello that should keep a connection
    busy is answered at once, and in embedded mode a process may get few requests.
    """
    full = count()
    for _ in range(most):
        before = full
        fill()
        full = count()
        if full == before:
            break
    return full


def rounds(requests: int, largest: int) -> Iterator[int]:
    """Yield the sizes of rounds that add up to ``requests``.

    The first ones are small, so that a large leak shows soon. Each is twice as large as the one
    before it, up to ``largest``.
    """
    size = min(_FIRST_ROUND, largest)
    while requests > 0:
        size = min(size, requests)
        yield size
        requests -= size
        size = min(2 * size, largest)
