"""An audit: what each distribution of an environment did in interpreters of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

from wsgiproof.records.cell import InterpreterKind
from wsgiproof.records.judgement import Finding

AUDIT = "audit.json"
"""The file of the record."""
FORMAT = 1
"""The format of the file."""


class Outcome(StrEnum):
    """What a distribution does in interpreters of a kind."""

    WORKS = "works"
    REFUSES = "refuses"
    """An import or the exercise raises an exception, and does not in the main interpreter."""
    DEGRADES = "degrades"
    """It works without something that it has in the main interpreter, and says nothing."""
    CRASHES = "crashes"
    HANGS = "hangs"
    WRONG = "wrong"
    """Its exercise has another result than in the main interpreter."""
    TAKES_GIL = "takes the GIL"
    """Its import turns the GIL on, in a Python that is built without one."""
    LEAKS = "leaks"
    """Memory grows with each interpreter that ends. In Apache: something that is counted, or
    memory, grows with requests."""
    NOT_INSTALLABLE = "not installable"
    UNKNOWN = "unknown"
    """It could not be decided, or the fault is not its own."""


FAILURES = frozenset(
    {
        *(Outcome.REFUSES, Outcome.DEGRADES, Outcome.CRASHES, Outcome.HANGS, Outcome.WRONG),
        *(Outcome.TAKES_GIL, Outcome.LEAKS),
    }
)
"""The outcomes that are the fault of what is installed."""


class Tier(StrEnum):
    """Where a distribution was tried."""

    FAST = "fast"
    """In interpreters that the standard library makes."""
    DEEP = "deep"
    """In real Apache with mod_wsgi, by an application that uses it in each request."""


class Stage(StrEnum):
    """How far a process had come."""

    START = "start"
    IMPORT = "import"
    EXERCISE = "exercise"
    DEPENDENCY = "dependency"
    """wsgiproof itself imports what the main interpreter has loaded and this one has not."""
    EXTENSION = "extension"
    """The import of an extension module by its own name, after all others."""
    ENDING = "ending"
    """An interpreter ends."""
    FINISHED = "finished"
    """The process ends."""


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """An installed distribution, as its metadata says."""

    name: str
    version: str
    modules: tuple[str, ...] = ()
    """What is imported first: its top-level modules and packages."""
    extensions: tuple[str, ...] = ()
    """Its compiled modules, by their full names."""
    files: str = ""
    """A digest of the names, sizes and times of its files."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An exception in one of the interpreters."""

    interpreter: int
    """0 for the main interpreter, 1 and 2 for the others."""
    stage: Stage
    module: str
    """What was being imported; empty for an exercise."""
    error: str
    deepest: str = ""
    """The module whose import failed first, at the end of the traceback."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What had loaded in an interpreter, beyond the standard library."""

    interpreter: int
    modules: tuple[str, ...] = ()
    standard: tuple[str, ...] = ()
    """The top-level modules of the standard library."""
    flags: Mapping[str, str] = {}
    """The constants that say what is available, such as ``ssl.HAS_SNI``, by full name."""
    things: tuple[str, ...] = ()
    """The names of modules and classes."""
    nones: tuple[str, ...] = ()
    """The names whose value is None."""
    warnings: tuple[str, ...] = ()


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One process: how it ended, which is certain, and what it wrote, which is only a claim."""

    kind: InterpreterKind
    swapped: bool = False
    """Whether the second interpreter and the last module came first."""
    in_turn: int = 0
    """How many interpreters were made, used and ended in turn; 0 if two were at the same time."""
    seconds: float = 0.0
    exit: int | None = None
    signal: int | None = None
    hung: bool = False
    """Whether it was killed at the end of its time."""
    over: str = ""
    """The limit because of which it was killed."""
    lost: str = ""
    """Why nothing is known of it: a fault of wsgiproof or of the machine."""
    stage: Stage = Stage.START
    doing: str = ""
    """What it had begun and not ended, for people."""
    failures: tuple[Failure, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    """Not in a saved record."""
    values: Mapping[str, str] = {}
    """The result of the exercise in each interpreter, by its number."""
    gil: Mapping[str, bool] = {}
    """Whether the GIL was on in each interpreter after all imports, by its number; empty before
    Python 3.13, which does not say it."""
    memory: tuple[int, ...] = ()
    """The bytes of private memory after the end of each interpreter, with :attr:`in_turn`."""
    threads: tuple[str, ...] = ()
    """The threads that were still running when their interpreter was to end, which was not tried
    then: the standard library can't do it."""
    left: tuple[str, ...] = ()
    """The names of the processes that it left running, which were killed."""
    output: str = ""
    """The end of what it printed to standard error, if it ended badly."""


class StandardFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A module of the standard library that fails alone in interpreters of a kind."""

    module: str
    error: str
    deepest: str = ""
    ends_process: bool = False
    """Whether the process crashed or hung, in place of an exception."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one distribution does in interpreters of one kind."""

    name: str
    version: str
    kind: InterpreterKind
    tier: Tier = Tier.FAST
    outcome: Outcome
    reason: str = ""
    """What happened, in one sentence."""
    cause: str = ""
    """The other distribution whose fault it is; empty if there is none."""
    exercised: bool = False
    """Whether it was used; otherwise it was only imported."""
    ends: str = ""
    """How often processes crashed at their end, with the bound."""
    notes: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What the checks of the cell found, in the deep tier."""
    cell: str = ""
    """The directory of that cell, below that of the audit."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What the two tiers say of one distribution in one kind of interpreters."""

    name: str
    version: str
    kind: InterpreterKind
    fast: Outcome
    deep: Outcome
    agree: bool | None
    """None if one of them does not know."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Another release of a distribution, and what it does."""

    version: str
    outcome: Outcome
    reason: str = ""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """The search for a release that works where the installed one does not."""

    name: str
    version: str
    """The installed one."""
    kind: InterpreterKind
    works: str = ""
    """The first release that does; empty if none of those tried does."""
    conflict: str = ""
    """Why that release can't be installed with the other requirements; empty if it can."""
    tried: tuple[Release, ...] = ()
    """The nearest ones first."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The audit of one environment, on one Python."""

    python: str
    path: str
    """Of its interpreter."""
    kinds: tuple[InterpreterKind, ...]
    """Those that were asked for."""
    distributions: tuple[Distribution, ...] = ()
    audited: tuple[str, ...] = ()
    """The names of those that are to be audited."""
    baseline: Mapping[InterpreterKind, tuple[StandardFailure, ...]] = {}
    """By kind: the modules of the standard library that fail there alone."""
    results: tuple[Result, ...] = ()
    """In the kinds that were asked for."""
    control: tuple[Result, ...] = ()
    """In the main interpreter."""
    deep: tuple[Result, ...] = ()
    """In real Apache, in the kinds that were asked for; empty without ``--deep``."""
    deep_control: tuple[Result, ...] = ()
    """In real Apache, in the main interpreter: of what fails there in another kind."""
    agreement: tuple[Agreement, ...] = ()
    """Of the two tiers."""
    searches: tuple[Search, ...] = ()
    """For each distribution that fails in a kind by its own fault, with ``--find-working``."""
    advice: tuple[str, ...] = ()
    """A sentence or two for each kind that was asked for."""
    not_confined: Mapping[str, str] = {}
    """What the kernel did not allow to take from the processes (``network``, ``files``), and its
    error."""

    @property
    def left(self) -> int:
        """How many of those that are to be audited have not been."""
        return len(self.audited) - len(self.control)


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """A whole audit, as it is saved."""

    format: int = FORMAT
    wsgiproof: str
    command: str
    started: Annotated[float, msgspec.Meta(ge=0, le=2**37)]
    """In seconds since the epoch."""
    seconds: float
    trials: int
    timeout: float
    leak_limit: int
    """The bytes of memory that an interpreter may leave when it ends."""
    notes: tuple[str, ...] = ()
    """What was tried of a project and what was not."""
    requirements: tuple[str, ...] = ()
    """What was asked for."""
    env: str = ""
    """The existing environment, in place of requirements."""
    pythons: tuple[str, ...] = ()
    """The interpreters for which environments are made, with their versions."""
    kinds: tuple[InterpreterKind, ...] = ()
    everything: bool = False
    """Whether distributions without compiled code are audited as well."""
    releases: int = 0
    """Other releases to try of each distribution that fails, at most."""
    complete: bool = True
    """False while it runs, and after one that was interrupted."""
    environments: tuple[Environment, ...]
