"""The cases: each application with its truth and the options of its run, read from cases.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.unit.factories import ALL_CHECKS

FOLDER = Path(__file__).parent
TABLE = FOLDER / "cases.toml"
BUGS, HEALTHY = "bugs", "healthy"
PASS, INCONCLUSIVE = "pass", "inconclusive"
NEW_CHECKS = ("children", "database", "files", "latency")
"""Checks that bugs need and that may not exist yet, by the names that they are expected to get."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``wsgiproof run`` is given beside the application; the empty value is its default."""

    python: str = ""
    mod_wsgi: str = ""
    pymongo: str = ""
    topology: str = ""
    mode: str = ""
    interpreter: str = ""
    requests: int = 0
    phases: tuple[str, ...] = ()
    """Empty: the command's default."""
    idle_seconds: float = 0
    max_latency: float = 0
    max_file_growth: float = 0
    expect_status: tuple[int, ...] = ()
    expect_body: str = ""
    requirements: tuple[str, ...] = ()


class Case(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One application, and what has to come of it."""

    kind: str
    why: str
    """Why a check has to fail, or why none may: one sentence."""
    expect: tuple[str, ...] = ()
    """Checks of which one has to fail at least. A healthy application has none: it has to pass."""
    expect_new: tuple[str, ...] = ()
    """The same of checks that may not exist yet."""
    also: tuple[str, ...] = ()
    """What is acceptable too: ``pass``, ``inconclusive``, ``inconclusive:CHECK``, or the name of a
    check that may fail."""
    decides: str = ""
    """What would decide an ``inconclusive`` that is acceptable."""
    folder: str = ""
    name: str = ""

    @property
    def path(self) -> Path:
        """The application."""
        return FOLDER / self.folder / f"{self.name}.py"

    @property
    def id(self) -> str:
        """``bugs/NAME`` or ``healthy/NAME``."""
        return f"{self.folder}/{self.name}"

    @property
    def wanted(self) -> frozenset[str]:
        """All checks of which one has to fail."""
        return frozenset({*self.expect, *self.expect_new})


def load(table: Path = TABLE) -> list[Case]:
    """Return every case. Raise ValueError for one that makes no sense, and say which."""
    document = tomllib.loads(table.read_text(encoding="utf-8"))
    defaults = document.pop("defaults", {})
    unknown = document.keys() - {BUGS, HEALTHY}
    if unknown:
        raise ValueError(f"{table.name}: unknown tables: {', '.join(sorted(unknown))}")
    cases = []
    for folder, entries in document.items():
        for name, entry in entries.items():
            values = {**defaults.get(folder, {}), **entry, "folder": folder, "name": name}
            try:
                case = msgspec.convert(values, Case)
            except msgspec.ValidationError as error:
                raise ValueError(f"{folder}/{name}: {error}") from error
            for wrong in problems(case):
                raise ValueError(f"{case.id}: {wrong}")
            cases.append(case)
    return cases


def problems(case: Case) -> Iterator[str]:
    """Say what makes no sense about ``case``."""
    for check in {*case.expect} - {*ALL_CHECKS}:
        yield f"expect: there is no check {check!r}"
    for check in {*case.expect_new} - {*NEW_CHECKS}:
        yield f"expect_new: {check!r} is not among {', '.join(NEW_CHECKS)}"
    checks = {*ALL_CHECKS, *NEW_CHECKS}
    outcomes = {PASS, INCONCLUSIVE, *checks, *(f"{INCONCLUSIVE}:{check}" for check in checks)}
    for outcome in {*case.also} - outcomes:
        yield f"also: {outcome!r} is no outcome"
    if case.folder == BUGS and not case.wanted:
        yield "a bug needs a check that has to fail"
    if case.folder == HEALTHY and case.wanted:
        yield "no check may have to fail for a healthy application"
    if any(one.startswith(INCONCLUSIVE) for one in case.also) != bool(case.decides):
        yield "decides: goes with an inconclusive that is acceptable, and only with that"
    if not case.why.endswith(".") or "\n" in case.why:
        yield "why: needs to be one sentence"


def command(case: Case, output: Path) -> list[str]:
    """Return the arguments of ``wsgiproof`` that run the case, with its results in ``output``."""
    arguments = ["run", "--no-config", "--app", str(case.path), "--output", str(output)]
    arguments += ["--jobs", "1"]
    single = {
        "--python": case.python,
        "--mod-wsgi": case.mod_wsgi,
        "--pymongo": case.pymongo,
        "--topology": case.topology,
        "--mode": case.mode,
        "--interpreter": case.interpreter,
        "-n": str(case.requests or ""),
        "--expect-body": case.expect_body,
        "--phases": ",".join(case.phases),
        "--idle-seconds": f"{case.idle_seconds:g}" if case.idle_seconds else "",
        "--max-file-growth": f"{case.max_file_growth:g}" if case.max_file_growth else "",
        "--max-latency": f"{case.max_latency:g}" if case.max_latency else "",
    }
    for option, value in single.items():
        if value:
            arguments += [option, value]
    for status in case.expect_status:
        arguments += ["--expect-status", str(status)]
    for requirement in case.requirements:
        arguments += ["--requirement", requirement]
    return arguments
