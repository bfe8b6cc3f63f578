"""Tries the distributions of an environment, each in processes of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from wsgiproof.audit.exercises import exercise_for, imported_first
from wsgiproof.audit.processes import Prober, attempt_of
from wsgiproof.audit.record import Judged, Request
from wsgiproof.judge.audited import Owner, ended_badly, judge_distribution
from wsgiproof.process.account import Account
from wsgiproof.process.signals import interrupted_by
from wsgiproof.records.audit import (
    Attempt,
    Distribution,
    Failure,
    Outcome,
    Result,
    Stage,
    StandardFailure,
)
from wsgiproof.records.cell import InterpreterKind

_STANDARD = (
    *("array", "asyncio", "bisect", "bz2", "collections", "contextvars", "csv", "ctypes"),
    *("dataclasses", "datetime", "decimal", "email", "fractions", "hashlib", "heapq", "hmac"),
    *("http.client", "inspect", "json", "logging", "lzma", "math", "mmap", "multiprocessing"),
    *("pickle", "queue", "random", "re", "select", "socket", "sqlite3", "ssl", "statistics"),
    *("struct", "subprocess", "tempfile", "threading", "typing", "unicodedata"),
    *("urllib.request", "uuid", "xml.etree.ElementTree", "zlib", "zoneinfo"),
)
"""The modules of the standard library that are tried alone: those that others import."""
_IN_TURN = 4
"""Interpreters that one process makes and ends in turn, for the memory that they leave."""
_T = TypeVar("_T")
_R = TypeVar("_R")


class Progress(Protocol):
    """Shows how far an audit has come."""

    def step(self, text: str) -> None:
        """Show that a step has begun."""

    def count(self, text: str) -> None:
        """Show how much of the step is done."""


class Auditor:
    """Tries the distributions of one environment."""

    def __init__(
        self, prober: Prober, request: Request, accounts: Sequence[Account], progress: Progress
    ) -> None:
        self._prober = prober
        self._request = request
        self._progress = progress
        self._accounts: queue.SimpleQueue[Account] = queue.SimpleQueue()
        for account in accounts:
            self._accounts.put(account)
        self.not_confined: dict[str, str] = {}
        """As :attr:`Environment.not_confined`."""

    # one process

    def _try(
        self,
        kind: InterpreterKind,
        modules: Sequence[str],
        extensions: Sequence[str] = (),
        exercise: str = "",
        *,
        first: Sequence[str] = (),
        expected: Sequence[str] = (),
        swapped: bool = False,
        in_turn: int = 0,
        site: bool = True,
    ) -> Attempt:
        job = self._prober.job(
            kind,
            modules,
            extensions,
            exercise,
            first=first,
            expected=expected,
            swapped=swapped,
            in_turn=in_turn,
        )
        with self._account() as account:
            ended = self._prober.run(job, account, site=site)
        self.not_confined.update(ended.not_confined)
        return attempt_of(ended, kind, swapped=swapped, in_turn=in_turn)

    @contextmanager
    def _account(self) -> Iterator[Account]:
        account = self._accounts.get()
        try:
            yield account
        finally:
            self._accounts.put(account)

    # the standard library

    def baseline(self, kind: InterpreterKind) -> tuple[StandardFailure, ...]:
        """Return what fails of the standard library alone, in either order of its modules."""
        main = self._try(InterpreterKind.MAIN, _STANDARD, site=False)
        missing = {one.module for one in main.failures}
        modules = [name for name in _STANDARD if name not in missing]
        found: dict[str, StandardFailure] = {}
        for swapped in (False, True):
            attempt = self._try(kind, modules, swapped=swapped, site=False)
            if ended_badly(attempt):
                return self._each_alone(kind, modules)
            found |= {one.module: _standard_failure(one) for one in attempt.failures}
        return tuple(found.values())

    def _each_alone(
        self, kind: InterpreterKind, modules: Sequence[str]
    ) -> tuple[StandardFailure, ...]:
        attempts = in_parallel(
            modules,
            lambda name: (name, self._try(kind, [name], site=False)),
            str,
            self._request.jobs,
            self._progress,
        )
        found: dict[str, StandardFailure] = {}
        for name, attempt in attempts:
            found |= {one.module: _standard_failure(one) for one in attempt.failures}
            if how := ended_badly(attempt):
                error = f"{how} {attempt.doing}"
                found[name] = StandardFailure(module=name, error=error, ends_process=True)
        return tuple(found.values())

    # one distribution

    def judged(
        self,
        one: Distribution,
        baseline: Mapping[InterpreterKind, Sequence[StandardFailure]],
        owner: Owner,
    ) -> Judged:
        """Return what a distribution does in the main interpreter, and in each kind."""
        exercise = exercise_for(one.name)
        try_it = partial(
            self._try,
            modules=one.modules,
            extensions=one.extensions,
            exercise=exercise,
            first=imported_first(one.name),
        )

        control: list[Attempt] = []

        def tried(kind: InterpreterKind, number: int, done: int = 0) -> list[Attempt]:
            loaded = next((s.modules for a in control for s in a.snapshots), ())
            return [
                try_it(kind, expected=loaded, swapped=bool(n % 2))
                for n in range(done, done + number)
            ]

        trials = self._request.trials
        wanted = trials if InterpreterKind.MAIN in self._request.kinds else 1
        control += tried(InterpreterKind.MAIN, wanted)
        attempts = {kind: self._attempts(kind, control, tried) for kind in baseline}
        if any(_crashed_late(a) for some in attempts.values() for a in some):
            # Does it also crash there, without any other interpreter?
            control += tried(InterpreterKind.MAIN, trials - len(control), len(control))

        def judge(kind: InterpreterKind) -> Result:
            main = kind is InterpreterKind.MAIN
            return judge_distribution(
                one,
                kind,
                control if main else attempts[kind],
                () if main else control,
                () if main else baseline[kind],
                owner,
                exercise=bool(exercise),
                leak_limit=self._request.leak_limit,
            )

        for kind, some in attempts.items():
            if judge(kind).outcome is Outcome.WORKS:
                some.append(try_it(kind, in_turn=_IN_TURN))
        return judge(InterpreterKind.MAIN), tuple(judge(kind) for kind in self._request.kinds)

    def _attempts(
        self,
        kind: InterpreterKind,
        control: Sequence[Attempt],
        tried: Callable[[InterpreterKind, int, int], list[Attempt]],
    ) -> list[Attempt]:
        """Return the processes of a kind: none if the main interpreter fails already, and no more
        after one that hangs or fails before its end, since they would do the same."""
        attempts: list[Attempt] = []
        while len(attempts) < self._request.trials and not any(map(ended_badly, control)):
            attempts += tried(kind, 1, len(attempts))
            if ended_badly(attempts[-1]) and not _crashed_late(attempts[-1]):
                break
        return attempts


def in_parallel(
    items: Sequence[_T],
    work: Callable[[_T], _R],
    name: Callable[[_T], str],
    jobs: int,
    progress: Progress,
    keep: Callable[[_R], None] | None = None,
) -> list[_R]:
    """Return the result for each item, in order, with ``jobs`` of them at a time.

    ``keep`` is called with each result at once.
    """
    with ThreadPoolExecutor(jobs) as pool:
        interrupted = threading.Event()

        def one(item: _T) -> _R:
            with interrupted_by(interrupted):
                return work(item)

        try:
            running = {pool.submit(one, item): name(item) for item in items}
            for number, done in enumerate(as_completed(running), 1):
                result = done.result()
                if keep is not None:
                    keep(result)
                progress.count(f"{number} of {len(running)}, {running[done]}")
            return [done.result() for done in running]
        except BaseException:
            interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _standard_failure(one: Failure) -> StandardFailure:
    return StandardFailure(module=one.module, error=one.error, deepest=one.deepest)


def _crashed_late(attempt: Attempt) -> bool:
    late = attempt.stage in (Stage.ENDING, Stage.FINISHED)
    return late and not attempt.hung and bool(ended_badly(attempt))
