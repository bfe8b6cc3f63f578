"""The environment that an audit looks at: made from requirements, and its distributions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from packaging.requirements import Requirement

from wsgiproof.audit.processes import Prober
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.process.account import Account
from wsgiproof.provision import index
from wsgiproof.provision.cache import Build
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.audit import Distribution

_HOME = "env"
_INVENTORY = 180.0
"""Seconds to list what is installed: 21,000 files take 5 seconds of an idle processor."""


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What requirements stand for on one Python."""

    pins: tuple[str, ...]
    """Exact versions of all that is to be installed."""
    not_installable: dict[str, str]
    """The requirements that can't be met on this Python, and why."""
    wheels_only: bool
    """Whether there is a wheel of each."""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What the interpreter of an environment says of itself and of what is installed there."""

    version: str
    free_threaded: bool
    distributions: tuple[Distribution, ...]


_decode = msgspec.json.Decoder(Inventory).decode  # at import: see cache.Marker


def resolve(requirements: Sequence[str], python: Python) -> Resolved:
    """Return what to install: wheels if there are, else also what has to be built.

    A requirement that can't be met is left out. Raises :class:`CannotRun` if the index does not
    answer, and :class:`UsageError` if each requirement can be met, but not all of them together.
    """
    try:
        return _resolve(requirements, python, {})
    except UsageError as error:
        bad: dict[str, str] = {}
        for one in requirements if len(requirements) > 1 else ():
            try:
                _resolve([one], python, {})
            except UsageError as why:
                bad[one] = str(why)
        if len(requirements) == 1:
            bad = {requirements[0]: str(error)}
        if not bad:
            raise
        good = [one for one in requirements if one not in bad]
        return _resolve(good, python, bad)


def _resolve(requirements: Sequence[str], python: Python, bad: dict[str, str]) -> Resolved:
    if not requirements:
        return Resolved(pins=(), not_installable=bad, wheels_only=True)
    try:
        pins, wheels_only = index.resolve(requirements, python, wheels_only=True), True
    except UsageError:
        pins, wheels_only = index.resolve(requirements, python, wheels_only=False), False
    return Resolved(pins=pins, not_installable=bad, wheels_only=wheels_only)


def name_of(requirement: str) -> tuple[str, str]:
    """Return the name of a requirement, and the version if it names one."""
    parsed = Requirement(requirement)
    return parsed.name, str(parsed.specifier).removeprefix("==")


def environment_build(resolved: Resolved, python: Python) -> Build:
    """Return the build of a virtual environment with exactly these versions.

    The build raises :class:`BuildFailed` with the installer's error.
    """

    def fill(directory: Path) -> None:
        home, log = directory / _HOME, directory / "install.log"
        index.make_environment(python, home)
        index.install(
            resolved.pins,
            home / "bin" / "python",
            log=log,
            wheels_only=resolved.wheels_only,
        )

    return Build(
        title=f"an environment of {len(resolved.pins)} distributions for {python.title}",
        kind="environment",
        key={
            "version": "audit",
            "requirements": "\n".join(resolved.pins),
            "wheels": str(resolved.wheels_only),
            **python.identity(),
        },
        make=fill,
    )


def interpreter_in(home: Path, account: Account) -> Path:
    """Return the interpreter of an existing environment.

    Raises :class:`UsageError` if there is none, and :class:`CannotRun` if the unprivileged user
    can't read it.
    """
    python = home / "bin" / "python"
    if not python.exists():
        raise UsageError(f"there is no environment at {home}: {python} does not exist")
    for path in (python, *sorted(home.glob("lib/python*/site-packages"))):
        if blocked := account.cannot_reach(path):
            raise CannotRun(
                f"the unprivileged user of an audit can't read {path}, because of {blocked}: "
                f"'chmod o+x {blocked}', or run wsgiproof as the user whose environment it is"
            )
    return python.absolute()


def built_interpreter(entry: Path) -> Path:
    """Return the interpreter in a built entry."""
    return entry / _HOME / "bin" / "python"


def take_inventory(prober: Prober, account: Account) -> Inventory:
    """Let the interpreter of an environment list what is installed there.

    Raises :class:`CannotRun` if it does not.
    """
    patient = msgspec.structs.replace(prober, timeout=max(prober.timeout, _INVENTORY))
    ended = patient.run({}, account, inventory=True)
    try:
        found = _decode(ended.written)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        lines = ended.output.strip().splitlines()
        slow = f"it did not end within {ended.seconds:.0f} s" if ended.hung else ""
        why = ended.lost or slow or (lines[-1] if lines else "it wrote nothing")
        raise CannotRun(f"{prober.python} did not list what is installed: {why}") from error
    by_name = sorted(found.distributions, key=lambda one: one.name.lower())
    return msgspec.structs.replace(found, distributions=tuple(by_name))
