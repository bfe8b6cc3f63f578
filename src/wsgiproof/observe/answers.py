"""Accounting for every answer: who gave it, what it said, and what failed."""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec

from wsgiproof.records import Failure, Identity, Problem

_BODY_KEPT = 500
"""Characters of a failed answer that are kept."""


class MemoryMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in use, as ``inside/memory.py`` reads it."""

    blocks: int | None
    malloc: int | None


class ObjectCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What has grown in an interpreter, as ``inside/object_growth.py`` counts it."""

    types: tuple[tuple[str, int], ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One valid body, as ``inside/responder.py`` writes it."""

    pid: int
    interpreter: str
    application_group: str | None
    process_group: str | None
    python: str
    mod_wsgi: str | None
    pymongo: str
    pymongo_file: str
    mpm: str | None
    bson_has_c: bool
    pymongo_has_c: bool
    gil_enabled: bool
    gil: str | None = None
    interpreter_id: int | None = None
    prefix: str
    thread_id: int
    request: int
    problems: list[str] = []
    memory: MemoryMetrics | None = None
    object_growth: ObjectCounts | None = None


read_answer = msgspec.json.Decoder(Answer).decode
"""Read a body; raises ``msgspec.MsgspecError`` for one that is not an answer."""


class Seen:
    """What one interpreter has said about itself, through one URL."""

    def __init__(self, url: str, first: Answer, before: int) -> None:
        self.url = url
        self.first = first
        self.before = before
        self.answers = 0
        self.threads: set[int] = set()

    def identity(self) -> Identity:
        """As it is recorded."""
        first = self.first
        return Identity(
            url=self.url,
            pid=first.pid,
            token=first.interpreter,
            application_group=first.application_group,
            process_group=first.process_group,
            python=first.python,
            mod_wsgi=first.mod_wsgi,
            pymongo=first.pymongo,
            pymongo_path=first.pymongo_file,
            mpm=first.mpm,
            bson_has_c=first.bson_has_c,
            pymongo_has_c=first.pymongo_has_c,
            gil_enabled=first.gil_enabled,
            gil=first.gil,
            interpreter_id=first.interpreter_id,
            prefix=first.prefix,
            answers=self.answers,
            first=self.before,
            threads=len(self.threads),
        )


class Answers:
    """The running account of one cell. ``phase`` is set by the experiment as it goes on."""

    def __init__(self) -> None:
        self.phase = ""
        self.requests = 0
        self.succeeded = 0
        self.kinds: Counter[str] = Counter()
        """Failed requests by the kind of failure."""
        self.served: Counter[int] = Counter()
        """Requests that each process has answered."""
        self._heard = 0
        self._numbers: dict[tuple[int, str], int] = {}
        """The highest number of an answer, by the process and the interpreter that gave it."""
        self._seen: dict[tuple[object, ...], Seen] = {}
        self._failures: Counter[tuple[str, str, str, int | None, str]] = Counter()
        self._bodies: dict[tuple[str, str, str, int | None, str], str] = {}
        self._problems: Counter[tuple[str, str, int, str]] = Counter()
        self._begun: dict[tuple[str, str, int, str], tuple[int, int]] = {}
        """The answers before each problem's first: of the whole cell, of its interpreter."""

    @property
    def failed(self) -> int:
        """How many requests were not answered as they should be."""
        return self.requests - self.succeeded

    def success(self, url: str, body: bytes) -> None:
        """Account for a complete answer with status 200; an unreadable body is a failure."""
        try:
            answer = read_answer(body)
        except msgspec.MsgspecError as error:
            self.failure("invalid body", url, 200, str(error), body)
            return
        self.heard(answer)
        self.requests += 1
        self.succeeded += 1
        self.served[answer.pid] += 1
        # All that an answer claims is in the key: an interpreter that changes its story shows.
        key = (url, answer.pid, answer.interpreter, *_claims(answer))
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = Seen(url, answer, self.succeeded - 1)
        for text in answer.problems:
            problem = (self.phase, text, answer.pid, answer.application_group or "")
            self._problems[problem] += 1
            self._begun.setdefault(problem, (self.succeeded - 1, seen.answers))
        seen.answers += 1
        seen.threads.add(answer.thread_id)

    def heard(self, answer: Answer) -> None:
        """Account for the number of an answer to any request of ours, of the load or not."""
        self._heard += 1
        key = (answer.pid, answer.interpreter)
        self._numbers[key] = max(answer.request, self._numbers.get(key, 0))

    @property
    def elsewhere(self) -> int:
        """How many requests, at least, were answered that are not ours.

        Each interpreter numbers its answers. A number that is missing went to somebody else, or
        into a request of ours that failed on the way back.
        """
        return max(0, sum(self._numbers.values()) - self._heard - self.failed)

    def failure(self, kind: str, url: str, status: int | None, error: str, body: bytes) -> None:
        """Account for a request that got no answer, or not the right one."""
        self.requests += 1
        key = (self.phase, kind, url, status, error)
        self.kinds[kind] += 1
        self._failures[key] += 1
        self._bodies.setdefault(key, body[:_BODY_KEPT].decode("utf-8", "replace"))

    def workers(self) -> dict[str, dict[int, int]]:
        """For each URL, how many threads of each process have answered."""
        workers: dict[str, dict[int, int]] = defaultdict(dict)
        for seen in self._seen.values():
            threads = workers[seen.url]
            threads[seen.first.pid] = threads.get(seen.first.pid, 0) + len(seen.threads)
        return dict(workers)

    def identities(self) -> tuple[Identity, ...]:
        """Every interpreter that answered, as it described itself."""
        return tuple(seen.identity() for seen in self._seen.values())

    def failures(self) -> tuple[Failure, ...]:
        """Every way in which requests failed."""
        return tuple(
            Failure(
                phase=key[0],
                kind=key[1],
                url=key[2],
                status=key[3],
                error=key[4],
                count=count,
                body=self._bodies[key],
            )
            for key, count in self._failures.items()
        )

    def problems(self) -> tuple[Problem, ...]:
        """Every value that did not survive, as the application reported it."""
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


def _claims(answer: Answer) -> tuple[object, ...]:
    return (
        answer.application_group,
        answer.process_group,
        answer.python,
        answer.mod_wsgi,
        answer.pymongo,
        answer.pymongo_file,
        answer.mpm,
        answer.bson_has_c,
        answer.pymongo_has_c,
        answer.gil_enabled,
        answer.prefix,
    )
