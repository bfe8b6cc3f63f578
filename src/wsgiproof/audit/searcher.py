"""Searches releases that work, of the distributions that do not."""

from __future__ import annotations

import queue
import re
from collections.abc import Callable, Sequence

import msgspec
from packaging.utils import canonicalize_name

from wsgiproof.audit.auditor import Auditor, Progress, in_parallel
from wsgiproof.audit.environment import (
    Resolved,
    built_interpreter,
    environment_build,
    name_of,
    take_inventory,
)
from wsgiproof.audit.processes import Prober
from wsgiproof.audit.record import Request
from wsgiproof.audit.releases import search
from wsgiproof.errors import BuildFailed, CannotRun, UsageError
from wsgiproof.judge.audited import owners
from wsgiproof.judge.finding import count
from wsgiproof.process.account import Account
from wsgiproof.provision import index
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.audit import FAILURES, Environment, Outcome, Result, Search, StandardFailure
from wsgiproof.records.cell import InterpreterKind

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,200}[A-Za-z0-9])?")
_RELEASE = re.compile(r"[0-9][0-9A-Za-z.!+]{0,100}")


class Searcher:
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

    def search(self, environment: Environment, save: Callable[[Sequence[Search]], None]) -> None:
        """Search for each distribution that fails by its own fault, unless the environment has that
        search already. ``save`` is called with all searches after each distribution."""
        found = [*environment.searches]
        known = {(one.name, one.version, one.kind) for one in found}
        failing: dict[str, list[Result]] = {}
        for one in environment.results:
            own = one.outcome in FAILURES and not one.cause and on_the_index(one)
            if own and (one.name, one.version, one.kind) not in known:
                failing.setdefault(one.name, []).append(one)

        def keep(some: Sequence[Search]) -> None:
            found.extend(some)
            save(found)

        save(found)
        if not failing:
            return
        self._progress.step(f"trying other releases of {count(len(failing), 'distribution')}")
        in_parallel(
            [*failing.values()],
            lambda some: self._search(some, environment),
            lambda some: some[0].name,
            self._request.jobs,
            self._progress,
            keep,
        )

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
        """Return what a release does in each kind, in an environment of its own.

        One that can't be installed, or whose environment can't be read, ends no search.
        """
        try:
            pins = index.resolve([f"{name}=={version}"], self._python, wheels_only=True)
            resolved = Resolved(pins=pins, not_installable={}, wheels_only=True)
            entry = self._cache.get(environment_build(resolved, self._python))
            prober = Prober(python=built_interpreter(entry), timeout=self._request.timeout)
            inventory = take_inventory(prober, account)
            wanted = canonicalize_name(name)
            there = [o for o in inventory.distributions if canonicalize_name(o.name) == wanted]
            if not there:
                raise CannotRun(f"{name} {version} is not in the environment that was made of it")
            request = msgspec.structs.replace(self._request, kinds=kinds)
            baseline: dict[InterpreterKind, Sequence[StandardFailure]] = {
                kind: environment.baseline.get(kind, ())
                for kind in kinds
                if kind is not InterpreterKind.MAIN
            }
            auditor = Auditor(prober, request, [account], self._progress)
            _, results = auditor.judged(there[0], baseline, owners(inventory.distributions))
            return {result.kind: result for result in results}
        except (UsageError, BuildFailed) as error:
            outcome, why = Outcome.NOT_INSTALLABLE, str(error)
        except CannotRun as error:
            outcome, why = Outcome.UNKNOWN, str(error)
        return {
            kind: Result(name=name, version=version, kind=kind, outcome=outcome, reason=why)
            for kind in kinds
        }

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
        except (UsageError, CannotRun) as error:
            return str(error)
        return ""


def on_the_index(one: Result) -> bool:
    """Return whether its name and version can be on the index.

    Metadata may say anything, and what asks the index must not take it for an option.
    """
    return bool(_NAME.fullmatch(one.name) and _RELEASE.fullmatch(one.version))
