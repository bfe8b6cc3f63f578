"""A whole audit: the environments one after the other, their distributions several at a time."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import Version

import wsgiproof
from wsgiproof.audit.environment import (
    Inventory,
    Resolved,
    built_interpreter,
    environment_build,
    interpreter_in,
    name_of,
    resolve,
    take_inventory,
)
from wsgiproof.audit.exercises import exercise_for
from wsgiproof.audit.processes import Prober, attempt_of, check_scratch
from wsgiproof.audit.releases import search
from wsgiproof.errors import BuildFailed, UsageError
from wsgiproof.judge.audited import (
    Owner,
    advise,
    advise_release,
    ended_badly,
    judge_distribution,
    owners,
)
from wsgiproof.process.account import Account, unused_accounts
from wsgiproof.process.signals import interrupted_by
from wsgiproof.provision import index
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.python import installed
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.audit import (
    FAILURES,
    Attempt,
    Audit,
    Distribution,
    Environment,
    Failure,
    Outcome,
    Result,
    Search,
    Stage,
    StandardFailure,
)
from wsgiproof.records.cell import InterpreterKind

_OLDEST = Version("3.10")
"""The first that says which modules are of its standard library."""
_OWN_GIL_SINCE = Version("3.12")
_TOOLS = {"pip", "setuptools", "wheel"}
"""Distributions that an environment may have without anybody having asked for them."""
_STANDARD = (
    *("array", "asyncio", "bisect", "bz2", "collections", "contextvars", "csv", "ctypes"),
    *("dataclasses", "datetime", "decimal", "email", "fractions", "hashlib", "heapq", "hmac"),
    *("http.client", "inspect", "json", "logging", "lzma", "math", "mmap", "multiprocessing"),
    *("pickle", "queue", "random", "re", "select", "socket", "sqlite3", "ssl", "statistics"),
    *("struct", "subprocess", "tempfile", "threading", "typing", "unicodedata"),
    *("urllib.request", "uuid", "xml.etree.ElementTree", "zlib", "zoneinfo"),
)
"""The modules of the standard library that are tried alone: those that others import."""


_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,200}[A-Za-z0-9])?")
_RELEASE = re.compile(r"[0-9][0-9A-Za-z.!+]{0,100}")
_T = TypeVar("_T")
_R = TypeVar("_R")


class Progress(Protocol):
    """Shows how far an audit has come."""

    def step(self, text: str) -> None:
        """Show that a step has begun."""

    def count(self, text: str) -> None:
        """Show how much of the step is done."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to audit."""

    requirements: tuple[str, ...] = ()
    env: Path | None = None
    """An existing environment, in place of the requirements."""
    pythons: tuple[Python, ...] = ()
    """Those for which an environment of the requirements is made."""
    kinds: tuple[InterpreterKind, ...]
    everything: bool = False
    """Whether distributions without compiled code are audited as well."""
    jobs: int
    timeout: float
    trials: int
    releases: int = 0
    """Other releases to try of each distribution that fails, at most."""
    command: str


def check(request: Request) -> None:
    """Raise :class:`UsageError` for what the Pythons can't do or what is not there, and
    :class:`wsgiproof.errors.CannotRun` for what the unprivileged user can't reach."""
    (account,) = unused_accounts(1)
    check_scratch(account)
    for python in request.pythons:
        _check_python(
            python.title, python.version, request.kinds, free_threaded=python.free_threaded
        )
    if request.env is not None:
        interpreter_in(request.env, account)


def audit(request: Request, progress: Progress) -> Audit:
    """Audit what is requested, and return the record.

    Raises as :func:`check`, and :class:`wsgiproof.errors.CannotRun` if an environment can't be made
    or read.
    """
    began, started = time.monotonic(), time.time()
    accounts = unused_accounts(request.jobs)
    if request.env is not None:
        found = [_existing(request.env, request, accounts, progress)]
    else:
        found = [_made(python, request, accounts, progress) for python in request.pythons]
    return Audit(
        wsgiproof=wsgiproof.__version__,
        command=request.command,
        started=round(started, 3),
        seconds=round(time.monotonic() - began, 3),
        trials=request.trials,
        timeout=request.timeout,
        environments=tuple(found),
    )


def _check_python(
    title: str, version: str, kinds: Sequence[InterpreterKind], *, free_threaded: bool
) -> None:
    with_gil = {InterpreterKind.SHARED_GIL, InterpreterKind.OWN_GIL}.intersection(kinds)
    if free_threaded and with_gil:
        raise UsageError(
            f"{title} is built without a GIL, and has no {min(with_gil)} interpreters: use "
            "--interpreter free-threaded"
        )
    if InterpreterKind.FREE_THREADED in kinds and not free_threaded:
        raise UsageError(
            f"{title} is not built without a GIL (--disable-gil), which --interpreter "
            "free-threaded needs: 'wsgiproof doctor --pythons' lists those of this machine, and "
            "'wsgiproof build python 3.13t' builds one"
        )
    if Version(version) < _OLDEST:
        raise UsageError(f"{title} does not list its standard library: use 3.10 or newer")
    if InterpreterKind.OWN_GIL in kinds and Version(version) < _OWN_GIL_SINCE:
        raise UsageError(
            f"{title} has no interpreters with their own GIL: use 3.12 or newer, or leave "
            "--interpreter own-gil out"
        )


def _existing(
    home: Path, request: Request, accounts: Sequence[Account], progress: Progress
) -> Environment:
    prober = Prober(python=interpreter_in(home, accounts[0]), timeout=request.timeout)
    progress.step(f"reading {home}")
    inventory = take_inventory(prober, accounts[0])
    _check_python(
        f"Python {inventory.version}",
        inventory.version,
        request.kinds,
        free_threaded=inventory.free_threaded,
    )
    environment = _Auditor(prober, request, accounts, progress).environment(inventory)
    if not request.releases:
        return environment
    python = next((one for one in installed() if one.version == inventory.version), None)
    if python is None:
        raise UsageError(
            f"--find-working needs a Python {inventory.version} on this machine to install other "
            "releases for: leave it out"
        )
    return _Searcher(python, request, accounts, progress).searched(environment)


def _made(
    python: Python, request: Request, accounts: Sequence[Account], progress: Progress
) -> Environment:
    progress.step(f"choosing versions for {python.title}")
    resolved = resolve(request.requirements, python)
    build, cache = environment_build(resolved, python), Cache()
    how = "using" if cache.has(build) else "making"
    source = "" if resolved.wheels_only else ", some built from source"
    progress.step(f"{how} {build.title}{source}")
    interpreter = built_interpreter(cache.get(build))
    prober = Prober(python=interpreter, timeout=request.timeout)
    inventory = take_inventory(prober, accounts[0])
    missing = [
        Result(name=name, version=version, kind=kind, outcome=Outcome.NOT_INSTALLABLE, reason=why)
        for requirement, why in resolved.not_installable.items()
        for name, version in [name_of(requirement)]
        for kind in request.kinds
    ]
    environment = _Auditor(prober, request, accounts, progress).environment(inventory, missing)
    if not request.releases:
        return environment
    return _Searcher(python, request, accounts, progress).searched(environment)


class _Auditor:
    """Audits one environment."""

    def __init__(
        self, prober: Prober, request: Request, accounts: Sequence[Account], progress: Progress
    ) -> None:
        self._prober = prober
        self._request = request
        self._progress = progress
        self._accounts: queue.SimpleQueue[Account] = queue.SimpleQueue()
        for account in accounts:
            self._accounts.put(account)
        self._not_confined: dict[str, str] = {}

    def environment(self, inventory: Inventory, missing: Sequence[Result] = ()) -> Environment:
        """Audit what is installed; ``missing`` are the results of what can't be."""
        kinds = self._request.kinds
        title = f"Python {inventory.version}"
        chosen = [one for one in inventory.distributions if self._is_chosen(one)]
        self._progress.step(f"trying the standard library of {title} alone")
        baseline: dict[InterpreterKind, Sequence[StandardFailure]] = {
            kind: self._baseline(kind) for kind in kinds if kind is not InterpreterKind.MAIN
        }
        number = len(chosen)
        self._progress.step(f"trying {number} distribution{'s' * (number != 1)} on {title}")
        owner = owners(inventory.distributions)
        judged = _in_parallel(
            chosen,
            lambda one: self.judged(one, baseline, owner),
            lambda one: one.name,
            self._request.jobs,
            self._progress,
        )
        control = tuple(main for main, _ in judged)
        results = (*(one for _, others in judged for one in others), *missing)
        return Environment(
            python=title,
            path=str(self._prober.python),
            kinds=kinds,
            distributions=inventory.distributions,
            audited=tuple(one.name for one in chosen),
            baseline={str(kind): tuple(found) for kind, found in baseline.items()},
            results=results,
            control=control,
            advice=tuple(advise(results, control, kind) for kind in kinds) if results else (),
            not_confined=self._not_confined,
        )

    def _is_chosen(self, one: Distribution) -> bool:
        asked = {canonicalize_name(name_of(text)[0]) for text in self._request.requirements}
        name = canonicalize_name(one.name)
        if name in _TOOLS and name not in asked:
            return False
        return self._request.everything or bool(one.extensions)

    # one process

    def _try(
        self,
        kind: InterpreterKind,
        modules: Sequence[str],
        extensions: Sequence[str] = (),
        exercise: str = "",
        *,
        swapped: bool = False,
        site: bool = True,
    ) -> Attempt:
        job = self._prober.job(kind, modules, extensions, exercise, swapped=swapped)
        with self._account() as account:
            ended = self._prober.run(job, account, site=site)
        self._not_confined.update(ended.not_confined)
        return attempt_of(ended, kind, swapped=swapped)

    @contextmanager
    def _account(self) -> Iterator[Account]:
        account = self._accounts.get()
        try:
            yield account
        finally:
            self._accounts.put(account)

    # the standard library

    def _baseline(self, kind: InterpreterKind) -> tuple[StandardFailure, ...]:
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
        attempts = _in_parallel(
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
    ) -> tuple[Result, tuple[Result, ...]]:
        """Return what a distribution does in the main interpreter, and in each kind."""
        exercise = exercise_for(one.name)

        def tried(kind: InterpreterKind, number: int, first: int = 0) -> list[Attempt]:
            return [
                self._try(kind, one.modules, one.extensions, exercise, swapped=bool(trial % 2))
                for trial in range(first, first + number)
            ]

        trials = self._request.trials
        wanted = trials if InterpreterKind.MAIN in self._request.kinds else 1
        control = tried(InterpreterKind.MAIN, wanted)
        attempts = {kind: self._attempts(kind, control, tried) for kind in baseline}
        if any(_crashed_late(a) for some in attempts.values() for a in some):
            # Does it also crash there, without any other interpreter?
            control += tried(InterpreterKind.MAIN, trials - len(control), len(control))
        main = judge_distribution(
            one, InterpreterKind.MAIN, control, (), (), owner, exercise=bool(exercise)
        )
        judged = {
            kind: judge_distribution(
                one, kind, attempts[kind], control, found, owner, exercise=bool(exercise)
            )
            for kind, found in baseline.items()
        }
        judged[InterpreterKind.MAIN] = main
        return main, tuple(judged[kind] for kind in self._request.kinds)

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


class _Searcher:
    """Searches releases that work, of what fails on one Python."""

    def __init__(
        self, python: Python, request: Request, accounts: Sequence[Account], progress: Progress
    ) -> None:
        self._python = python
        self._request = request
        self._progress = progress
        self._cache = Cache()
        self._accounts: queue.SimpleQueue[Account] = queue.SimpleQueue()
        for account in accounts:
            self._accounts.put(account)

    def searched(self, environment: Environment) -> Environment:
        """Return the environment with a search for each distribution that fails by its own fault,
        and with what these found as advice."""
        failing: dict[str, list[Result]] = {}
        for one in environment.results:
            if one.outcome in FAILURES and not one.cause and _on_the_index(one):
                failing.setdefault(one.name, []).append(one)
        if not failing:
            return environment
        number = len(failing)
        what = f"{number} distribution{'s' * (number != 1)}"
        self._progress.step(f"trying other releases of {what}")
        found = _in_parallel(
            [*failing.values()],
            lambda some: self._search(some, environment),
            lambda some: some[0].name,
            self._request.jobs,
            self._progress,
        )
        searches = tuple(one for some in found for one in some)
        advice = (*environment.advice, *map(advise_release, searches))
        return msgspec.structs.replace(environment, searches=searches, advice=advice)

    def _search(self, failing: Sequence[Result], environment: Environment) -> tuple[Search, ...]:
        name = failing[0].name
        kinds = tuple(one.kind for one in failing)
        account = self._accounts.get()
        try:
            found = search(
                failing,
                self._request.releases,
                lambda version, newer: index.nearest(name, version, self._python, newer=newer),
                lambda version: self._tried(name, version, kinds, environment, account),
            )
        finally:
            self._accounts.put(account)
        return tuple(
            msgspec.structs.replace(one, conflict=self._conflict(one)) if one.works else one
            for one in found
        )

    def _tried(
        self,
        name: str,
        version: str,
        kinds: tuple[InterpreterKind, ...],
        environment: Environment,
        account: Account,
    ) -> dict[InterpreterKind, Result]:
        """Return what a release does in each kind, in an environment of its own."""
        try:
            pins = index.resolve([f"{name}=={version}"], self._python, wheels_only=True)
            resolved = Resolved(pins=pins, not_installable={}, wheels_only=True)
            entry = self._cache.get(environment_build(resolved, self._python))
        except (UsageError, BuildFailed) as error:
            return {
                kind: Result(
                    name=name,
                    version=version,
                    kind=kind,
                    outcome=Outcome.NOT_INSTALLABLE,
                    reason=str(error),
                )
                for kind in kinds
            }
        prober = Prober(python=built_interpreter(entry), timeout=self._request.timeout)
        inventory = take_inventory(prober, account)
        one = next(
            one
            for one in inventory.distributions
            if canonicalize_name(one.name) == canonicalize_name(name)
        )
        request = msgspec.structs.replace(self._request, kinds=kinds)
        baseline: dict[InterpreterKind, Sequence[StandardFailure]] = {
            kind: environment.baseline.get(str(kind), ())
            for kind in kinds
            if kind is not InterpreterKind.MAIN
        }
        auditor = _Auditor(prober, request, [account], self._progress)
        _, results = auditor.judged(one, baseline, owners(inventory.distributions))
        return {result.kind: result for result in results}

    def _conflict(self, found: Search) -> str:
        """Return why a release can't be installed with the other requirements."""
        others = [
            one
            for one in self._request.requirements
            if canonicalize_name(name_of(one)[0]) != canonicalize_name(found.name)
        ]
        try:
            index.resolve(
                [*others, f"{found.name}=={found.works}"], self._python, wheels_only=False
            )
        except UsageError as error:
            return str(error)
        return ""


def _in_parallel(
    items: Sequence[_T],
    work: Callable[[_T], _R],
    name: Callable[[_T], str],
    jobs: int,
    progress: Progress,
) -> list[_R]:
    """Return the result for each item, in order, with ``jobs`` of them at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        interrupted = threading.Event()

        def one(item: _T) -> _R:
            with interrupted_by(interrupted):
                return work(item)

        try:
            running = {pool.submit(one, item): name(item) for item in items}
            for number, done in enumerate(as_completed(running), 1):
                done.result()
                progress.count(f"{number} of {len(running)}, {running[done]}")
            return [done.result() for done in running]
        except BaseException:
            interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _on_the_index(one: Result) -> bool:
    """Whether its name and version can be on the index: metadata may say anything, and what asks
    the index must not take it for an option."""
    return bool(_NAME.fullmatch(one.name) and _RELEASE.fullmatch(one.version))


def _standard_failure(one: Failure) -> StandardFailure:
    return StandardFailure(module=one.module, error=one.error, deepest=one.deepest)


def _crashed_late(attempt: Attempt) -> bool:
    late = attempt.stage in (Stage.ENDING, Stage.FINISHED)
    return late and not attempt.hung and bool(ended_badly(attempt))
