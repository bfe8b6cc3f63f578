"""Trying the distributions of an environment on other machines: what these need to know for it, and
what comes back."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Protocol

import msgspec

from wsgiproof.audit.auditor import Auditor, Progress
from wsgiproof.audit.environment import Resolved, built_interpreter, environment_build
from wsgiproof.audit.processes import Prober, check_scratch
from wsgiproof.audit.record import Judged, Request
from wsgiproof.judge.audited import owners
from wsgiproof.process.account import unused_accounts
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.audit import Attempt, Distribution, Outcome, Result, StandardFailure
from wsgiproof.records.cell import InterpreterKind


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for all distributions of one environment."""

    resolved: Resolved
    python: Python
    """That of the machine on which the audit was started."""
    distributions: tuple[Distribution, ...]
    baseline: Mapping[InterpreterKind, Sequence[StandardFailure]]
    request: Request


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What a distribution did."""

    judged: Judged
    not_confined: dict[str, str] = {}
    """As :attr:`wsgiproof.records.audit.Environment.not_confined`."""


class Elsewhere(Protocol):
    """Tries distributions on other machines."""

    def tried(
        self, lot: Lot, distributions: Sequence[Distribution], progress: Progress
    ) -> Generator[Tried]:
        """Yield what each distribution did as soon as that is known, in any order.

        Closing the iterator stops what runs. Raises :class:`wsgiproof.errors.CannotRun` if no more
        can be tried.
        """


class _Silent:
    """A progress that nobody sees."""

    def step(self, text: str) -> None:
        """Show nothing."""

    def count(self, text: str) -> None:
        """Show nothing."""


def try_here(lot: Lot, python: Python, one: Distribution) -> Tried:
    """Try a distribution on this machine, for another one: with this Python, in an environment of
    this machine's own cache.

    Raises a :class:`wsgiproof.errors.WsgiproofError` if the environment can't be made.
    """
    accounts = unused_accounts(1)
    check_scratch(accounts[0])
    interpreter = built_interpreter(Cache().get(environment_build(lot.resolved, python)))
    prober = Prober(python=interpreter, timeout=lot.request.timeout)
    auditor = Auditor(prober, lot.request, accounts, _Silent())
    judged = auditor.judged(one, lot.baseline, owners(lot.distributions))
    return Tried(judged=judged, not_confined=auditor.not_confined)


def not_tried(lot: Lot, one: Distribution, why: str) -> Tried:
    """Return that nothing is known of a distribution: it was lost, or could be tried nowhere. An
    audit that is resumed tries it again."""

    def unknown(kind: InterpreterKind) -> Result:
        return Result(
            name=one.name,
            version=one.version,
            kind=kind,
            outcome=Outcome.UNKNOWN,
            reason=why,
            attempts=(Attempt(kind=kind, lost=why),),
        )

    return Tried(judged=(unknown(InterpreterKind.MAIN), tuple(map(unknown, lot.request.kinds))))
