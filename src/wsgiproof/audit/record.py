"""The record of an audit while it is made, and what is kept of one that was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

import wsgiproof
from wsgiproof.errors import UsageError
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.audit import Audit, Distribution, Environment, Result
from wsgiproof.records.cell import InterpreterKind

Judged = tuple[Result, tuple[Result, ...]]
"""What a distribution does in the main interpreter, and in each kind that was asked for."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to audit."""

    requirements: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What they are and what they leave out, for the record."""
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
    leak_limit: int
    """The bytes of memory that an interpreter may leave when it ends."""
    releases: int = 0
    """Other releases to try of each distribution that fails, at most."""
    command: str

    def record(self) -> Audit:
        """Return the record of an audit that begins."""
        return Audit(
            wsgiproof=wsgiproof.__version__,
            command=self.command,
            started=round(time.time(), 3),
            seconds=0.0,
            trials=self.trials,
            timeout=self.timeout,
            leak_limit=self.leak_limit,
            notes=self.notes,
            requirements=self.requirements,
            env=str(self.env or ""),
            pythons=tuple(f"{one.version} {one.path}" for one in self.pythons),
            kinds=self.kinds,
            everything=self.everything,
            releases=self.releases,
            complete=False,
            environments=(),
        )


_SAME = {
    "wsgiproof": "the version of wsgiproof",
    "requirements": "what is to be installed",
    "env": "--env",
    "pythons": "--python",
    "kinds": "--interpreter",
    "everything": "--all",
    "releases": "--find-working or --releases",
    "trials": "--trials",
    "timeout": "--timeout",
    "leak_limit": "--leak-limit",
}
"""The fields in which an audit has to be the same to be resumed, and how messages name them."""


class Record:
    """The record of an audit, which is saved after each distribution.

    Raises :class:`UsageError` if ``before``, the record of an earlier audit, was asked for
    something else.
    """

    def __init__(
        self, request: Request, save: Callable[[Audit], None], before: Audit | None
    ) -> None:
        self._record = request.record()
        self._save = save
        self._before = before
        self._began = time.monotonic()
        self._earlier = before.seconds if before else 0.0
        if before is not None:
            if any(one.deep for one in before.environments):
                raise UsageError("the audit can't be resumed: its results of --deep would be lost")
            for field, name in _SAME.items():
                if getattr(before, field) != getattr(self._record, field):
                    raise UsageError(f"the audit can't be resumed: {name} is not what it was")
            self._record = msgspec.structs.replace(self._record, started=before.started)
        else:
            self._write()

    def before(self, python: str, installed: Sequence[Distribution]) -> Environment | None:
        """Return the next environment as it was recorded earlier; None if it had not begun.

        Raises :class:`UsageError` if what is installed is not the same.
        """
        number = len(self._record.environments)
        if self._before is None or number >= len(self._before.environments):
            return None
        earlier = self._before.environments[number]
        changed = next(_changes(earlier, python, installed, files=bool(self._record.env)), None)
        if not changed and {*earlier.baseline} != {*self._record.kinds} - {InterpreterKind.MAIN}:
            changed = "its record does not say what fails of the standard library"
        if changed:
            raise UsageError(f"the audit can't be resumed: {changed}")
        return earlier

    def begin(self, environment: Environment) -> None:
        """Add an environment."""
        environments = (*self._record.environments, environment)
        self._record = msgspec.structs.replace(self._record, environments=environments)

    def update(self, **fields: Any) -> Environment:
        """Change the environment that was added last, save the record, and return it."""
        *others, last = self._record.environments
        last = msgspec.structs.replace(last, **fields)
        self._write(environments=(*others, last))
        return last

    def finish(self) -> Audit:
        """Mark the record as complete, save it, and return it."""
        self._write(complete=True)
        return self._record

    def _write(self, **fields: Any) -> None:
        seconds = round(self._earlier + time.monotonic() - self._began, 3)
        self._record = msgspec.structs.replace(self._record, seconds=seconds, **fields)
        # What an earlier audit has of the environments to come must not be lost meanwhile.
        there = self._record.environments
        to_come = self._before.environments[len(there) :] if self._before else ()
        self._save(msgspec.structs.replace(self._record, environments=(*there, *to_come)))


def finished_in(
    environment: Environment | None, kinds: Sequence[InterpreterKind]
) -> dict[tuple[str, str], Judged]:
    """Return what is recorded of the distributions that were tried in all of these kinds.

    Those that a fault of wsgiproof or of the machine left open are tried again.
    """
    if environment is None:
        return {}
    found: dict[tuple[str, str], dict[InterpreterKind, Result]] = {}
    for one in environment.results:
        found.setdefault((one.name, one.version), {})[one.kind] = one
    judged: dict[tuple[str, str], Judged] = {}
    for main in environment.control:
        others = found.get((main.name, main.version), {})
        lost = any(attempt.lost for one in (main, *others.values()) for attempt in one.attempts)
        if not lost and all(kind in others for kind in kinds):
            judged[main.name, main.version] = main, tuple(others[kind] for kind in kinds)
    return judged


def _changes(
    earlier: Environment, python: str, installed: Sequence[Distribution], *, files: bool
) -> Iterator[str]:
    """Yield in what an environment differs; ``files`` says whether their times count."""
    if earlier.python != python:
        yield f"the interpreter is {python} now, and was {earlier.python}"
    then = {one.name: one for one in earlier.distributions}
    now = {one.name: one for one in installed}
    for name in sorted({*then} | {*now}):
        if name not in then:
            yield f"{name} {now[name].version} was not installed"
        elif name not in now:
            yield f"{name} {then[name].version} is not installed any more"
        elif then[name].version != now[name].version:
            yield f"{name} is {now[name].version} now, and was {then[name].version}"
        elif files and then[name].files != now[name].files:
            yield f"a file of {name} {now[name].version} has changed"
