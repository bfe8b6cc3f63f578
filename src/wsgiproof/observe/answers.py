"""Collects the answers of the application: who gave each, what was reported, and what failed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import TypeVar

import msgspec

from wsgiproof.agent import protocol
from wsgiproof.errors import ServiceFailed
from wsgiproof.records.observed import Answers, Failure, Identity, Problem

_BODY_KEPT = 500
"""Characters of a failed answer that are kept."""
_MOST_KINDS = 1000
"""Different answers to one URL that are counted."""
_REPORT = re.compile(rf"\r\n{protocol.REPORT}: *([^\r\n]*)".encode(), re.I)


T = TypeVar("T")
_FailureKey = tuple[str, str, str, int | None, str]
"""The phase, the kind, the URL, the status and the error of failures that are alike."""


class MemoryMetrics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memory in use, as ``agent/memory.py`` reads it."""

    blocks: int | None
    malloc: int | None


class ObjectCounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What grew in an interpreter: the objects of some types, as ``agent/object_growth.py`` counts,
    and the memory that some operations leave, as ``agent/operation_growth.py`` measures."""

    types: tuple[tuple[str, int], ...]
    operations: tuple[tuple[str, float, float], ...] = ()


class OpenedSockets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an interpreter opened sockets, as ``agent/socket_origins.py`` remembers."""

    opened: tuple[tuple[str, int], ...]


class AgentReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the agent reports of one request: the fields of ``agent/protocol.py``."""

    pid: int
    token: str
    interpreter_id: int | None
    gil: str | None
    application_group: str | None
    process_group: str | None
    mod_wsgi: str | None
    mpm: str | None
    python: str
    prefix: str
    subject: dict[str, str | int | bool | None]
    request: int
    thread_id: int
    gil_enabled: bool
    problems: list[str]
    memory: MemoryMetrics | None = None
    object_growth: ObjectCounts | None = None
    socket_origins: OpenedSockets | None = None


class _Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The report on a request whose commands the agent does not know."""

    refused: str


_read_report = msgspec.json.Decoder(AgentReport).decode
_read_refused = msgspec.json.Decoder(_Refused).decode


class NoReport(Exception):
    """A response carries no report: something else than the application gave it."""

    def __init__(self) -> None:
        super().__init__("the answer has no report: something else than the application gave it")


class ProtocolError(ServiceFailed):
    """A report does not keep to the protocol, which is no fault of the application's."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the agent inside Apache does not keep to the protocol: {problem}")


def report_of(head: bytes, subject: Collection[str]) -> AgentReport:
    """Return the report in the headers of an answer.

    ``subject`` are the fields that the subject has to report of itself. Raises :class:`NoReport`,
    and :class:`ProtocolError` for a report that is not valid.
    """
    # The agent adds its header last.
    headers = _REPORT.findall(head.partition(b"\r\n\r\n")[0])
    if not headers:
        raise NoReport
    try:
        return read_report(headers[-1], subject)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ProtocolError(_refused(headers[-1]) or str(error)) from error


def read_report(text: bytes, subject: Collection[str]) -> AgentReport:
    """Decode a report; raises ``msgspec.MsgspecError`` for text that is not one.

    ``subject`` are the fields that the subject has to report of itself.
    """
    report = _read_report(text)
    for name in (*report.subject, *subject):
        if name not in subject or name not in report.subject:
            how = "missing required" if name in subject else "contains unknown"
            raise msgspec.ValidationError(f"Object {how} field `{name}` - at `$.subject`")
    return report


def measured(value: T | None, name: str) -> T:
    """Return a measurement that was asked for. Raises :class:`ProtocolError` if it is missing."""
    if value is None:
        raise ProtocolError(f"the report lacks the field `{name}`, which was asked for")
    return value


def _refused(report: bytes) -> str:
    """Return why the agent refused the commands of a request; empty if it did not."""
    try:
        return _read_refused(report).refused
    except (msgspec.MsgspecError, RecursionError):
        return ""


class InterpreterAnswers:
    """The answers of one interpreter through one URL.

    ``before`` is how many answers the whole cell had given before the first one.
    """

    def __init__(self, url: str, first: AgentReport, before: int) -> None:
        self.url = url
        self.first = first
        self.before = before
        self.answers = 0
        self.threads: set[int] = set()

    def identity(self) -> Identity:
        """Return the identity in the form that is recorded."""
        first = self.first
        return Identity(
            url=self.url,
            pid=first.pid,
            token=first.token,
            application_group=first.application_group,
            process_group=first.process_group,
            python=first.python,
            mod_wsgi=first.mod_wsgi,
            subject=first.subject,
            mpm=first.mpm,
            gil_enabled=first.gil_enabled,
            gil=first.gil,
            interpreter_id=first.interpreter_id,
            prefix=first.prefix,
            answers=self.answers,
            first=self.before,
            threads=len(self.threads),
        )


class AnswerCollector:
    """Collects the answers of one cell. The experiment sets ``phase``."""

    def __init__(self) -> None:
        self.phase = ""
        self.requests = 0
        self.succeeded = 0
        self.kinds: Counter[str] = Counter()
        """Failed requests by the kind of failure."""
        self.served: Counter[int] = Counter()
        """Requests that each process has answered."""
        self._numbered = 0
        self._numbers: dict[tuple[int, str], int] = {}
        """The highest number of an answer, by process and interpreter."""
        self._interpreters: dict[tuple[object, ...], InterpreterAnswers] = {}
        self._failures: Counter[_FailureKey] = Counter()
        self._first_failures: dict[_FailureKey, tuple[str, int, int]] = {}
        """The body of the first failure of each kind, and how many right answers came before it: of
        the cell, and of the URL."""
        self._problems: Counter[tuple[str, str, int, str]] = Counter()
        self._answers: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
        """How often each answer came to a URL, by the size and the digest of its body."""
        self._begun: dict[tuple[str, str, int, str], tuple[int, int]] = {}
        """How many answers came before each problem: of the whole cell, and of its interpreter."""

    @property
    def failed(self) -> int:
        """How many requests were not answered correctly."""
        return self.requests - self.succeeded

    def success(self, url: str, body: tuple[int, int], report: AgentReport) -> None:
        """Count a right answer; ``body`` is the size and a digest of its body."""
        self.note_number(report)
        self.requests += 1
        self.succeeded += 1
        self.served[report.pid] += 1
        answers = self._answers[url]
        if body in answers or len(answers) < _MOST_KINDS:
            answers[body] += 1
        # The key has all that a report says, so an interpreter whose report changes shows.
        key = (url, report.pid, report.token, *_reported(report))
        interpreter = self._interpreters.get(key)
        if interpreter is None:
            interpreter = InterpreterAnswers(url, report, self.succeeded - 1)
            self._interpreters[key] = interpreter
        for text in report.problems:
            problem = (self.phase, text, report.pid, report.application_group or "")
            self._problems[problem] += 1
            self._begun.setdefault(problem, (self.succeeded - 1, interpreter.answers))
        interpreter.answers += 1
        interpreter.threads.add(report.thread_id)

    def note_number(self, report: AgentReport) -> None:
        """Note the number of a request of the experiment, of the load or not."""
        self._numbered += 1
        key = (report.pid, report.token)
        self._numbers[key] = max(report.request, self._numbers.get(key, 0))

    @property
    def elsewhere(self) -> int:
        """How many answered requests, at least, came from another program.

        Each interpreter numbers its requests. A missing number belongs to another program, or to a
        request of the experiment that failed.
        """
        return max(0, sum(self._numbers.values()) - self._numbered - self.failed)

    def failure(self, kind: str, url: str, status: int | None, error: str, body: bytes) -> None:
        """Count a request that got no answer, or a wrong one; ``error`` says why in one line."""
        self.requests += 1
        key = (self.phase, kind, url, status, error)
        self.kinds[kind] += 1
        self._failures[key] += 1
        if key not in self._first_failures:
            text = body[:_BODY_KEPT].decode("utf-8", "replace")
            own = sum(one.answers for one in self._interpreters.values() if one.url == url)
            self._first_failures[key] = (text, self.succeeded, own)

    def workers(self) -> dict[str, dict[int, int]]:
        """Return, for each URL, how many threads of each process have answered."""
        workers: dict[str, dict[int, int]] = defaultdict(dict)
        for one in self._interpreters.values():
            threads = workers[one.url]
            threads[one.first.pid] = threads.get(one.first.pid, 0) + len(one.threads)
        return dict(workers)

    def identities(self) -> tuple[Identity, ...]:
        """Return every interpreter that answered, as it reported itself."""
        return tuple(one.identity() for one in self._interpreters.values())

    def answers(self) -> tuple[Answers, ...]:
        """Return how much the right answers to each URL differ."""
        return tuple(
            Answers(url=url, total=kinds.total(), same=max(kinds.values()))
            for url, kinds in self._answers.items()
        )

    def failures(self) -> tuple[Failure, ...]:
        """Return every way in which requests failed."""
        return tuple(
            Failure(
                phase=key[0],
                kind=key[1],
                url=key[2],
                status=key[3],
                error=key[4],
                count=count,
                body=self._first_failures[key][0],
                first=self._first_failures[key][1],
                own_first=self._first_failures[key][2],
            )
            for key, count in self._failures.items()
        )

    def problems(self) -> tuple[Problem, ...]:
        """Return every value that changed in a round trip, as the application reported it."""
        return tuple(
            Problem(
                phase=key[0],
                text=key[1],
                pid=key[2],
                application_group=key[3],
                count=count,
                first=self._begun[key][0],
                own_first=self._begun[key][1],
            )
            for key, count in self._problems.items()
        )


def _reported(report: AgentReport) -> tuple[object, ...]:
    return (
        report.application_group,
        report.process_group,
        report.python,
        report.mod_wsgi,
        *report.subject.items(),
        report.mpm,
        report.gil_enabled,
        report.prefix,
    )
