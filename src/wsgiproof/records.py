"""Frozen values that a run leaves behind, and their JSON form.

``judge`` and ``report`` work from these alone, so everything that a verdict rests on is in here.
The JSON form is described in ``docs/results.md``; :data:`FORMAT` is its version.
Times named ``time`` and ``started`` are seconds of CLOCK_MONOTONIC; ``seconds`` are durations.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from wsgiproof.cell import Cell
from wsgiproof.traffic import Latencies, LoadTimeline

FORMAT = 2


class Verdict(StrEnum):
    """What a cell, or one check of it, came to. Missing evidence is never a pass."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    SKIPPED = "skipped"


class Prerequisite(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a run needs of this machine: what was found, or the problem and its mend."""

    name: str
    found: str = ""
    problem: str = ""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The server of one cell, up, as it is told to whoever wants to look at it."""

    cell: str
    urls: Mapping[str, str]
    """Each with its application group."""
    mongodb: str
    """The URI of its deployment, without credentials; empty if there is none."""
    database: str
    pids: Mapping[Role, tuple[int, ...]]
    config: str
    error_log: str


class Role(StrEnum):
    """What a process of the server is for."""

    PARENT = "parent"
    """Apache's own parent: starts and watches the others, serves nothing."""
    WORKER = "worker"
    """Runs the application: a daemon process, or a child in embedded mode."""
    FRONTEND = "frontend"
    """In daemon mode, a child that accepts requests and hands them to the daemon process."""
    HELPER = "helper"
    """What one of these has started, such as the ldconfig of Python 2's ``uuid``: not Apache's."""


class PhaseName(StrEnum):
    """The parts of an experiment, in their order."""

    WARM_UP = "warm-up"
    PARALLEL = "parallel"
    SERIAL = "serial"
    COOL_DOWN = "cool-down"
    EXTRA_LOAD = "extra-load"
    """More load, and another idle time, where the judge could not decide."""
    DIAGNOSIS = "diagnosis"
    FAILOVER = "failover"
    """Members of the deployment die, pause and step down, under load."""
    RESTART = "restart"
    """Apache restarts gracefully, under load."""
    RELOAD = "reload"
    """The script is touched, so that mod_wsgi replaces its daemon process."""
    IDLE = "idle"
    """A long time without a request, watched."""
    STOP = "stop"


class ExtraPhase(StrEnum):
    """The phases that may be asked for, beyond load and the stop."""

    RESTART = "restart"
    RELOAD = "reload"
    FAILOVER = "failover"
    IDLE = "idle"


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much load, and how long to wait for what. Recorded, so that a judge can read it."""

    parallel: int
    """Requests of the parallel phase."""
    serial: int
    """Requests of the serial phase."""
    connections: int
    """Requests in flight at once in the parallel phase."""
    extra_requests: int = 0
    """Requests that may be added to these, at most, where the judge can't decide yet."""
    warm_up: int = 250
    """Requests before the first sample, after pools have been filled."""
    round: int
    """Requests between two samples, at most; the first rounds are shorter."""
    memory_every: int = 250
    """Requests between two readings of memory, at least: they take requests of their own."""
    request_deadline: float = 30.0
    """Seconds after which a request that has no answer counts as hung."""
    start_deadline: float = 30.0
    stop_deadline: float = 15.0
    """Seconds that the whole server may take to go after a stop."""
    stop_patience: float = 0.8
    """Seconds after which the stacks of what is still there are taken. Most servers are gone after
    0.2; Apache itself ends its daemon processes 3 seconds into a stop, and on a busy machine it
    takes a second to read one."""
    disconnect_timeout: float = 5.0
    """Seconds that the deployment may still show connections of a stopped server."""
    cool_down: float = 1.5
    """Seconds without a request, after the load: what was borrowed is given back by then."""
    phases: tuple[ExtraPhase, ...] = ()
    """What is tried beyond load and the stop."""
    restarts: int = 1
    """Graceful restarts in a row, where there are any; and reloads."""
    fault_seconds: float = 3.0
    """Seconds that members of the deployment are paused or gone, in the phase ``failover``."""
    recovery_deadline: float = 15.0
    """Seconds after there is a primary again until each request has to be answered again: each
    monitor looks within ``heartbeatFrequencyMS``, 10 seconds, and that look takes its time (the
    specification of server discovery and monitoring)."""
    settle_deadline: float = 25.0
    """Seconds that counts may then take to come down to what they were."""
    restart_deadline: float = 15.0
    """Seconds that the processes of before may take to go after a restart."""
    idle_seconds: float = 30.0
    """Seconds that the phase ``idle`` watches a server without a request, if it was asked for."""
    max_seconds: float | None = None
    """Seconds after which the load is cut short; None: never."""
    seed: int = 1
    """Of the random choice of URLs."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What one interpreter said of itself, from inside, and how many answers said so."""

    url: str
    pid: int
    token: str
    """One for each interpreter: two URLs with the same token share an interpreter."""
    application_group: str | None
    process_group: str | None
    """Empty in embedded mode; None if nobody told."""
    python: str
    mod_wsgi: str | None
    pymongo: str
    pymongo_path: str
    mpm: str | None
    bson_has_c: bool
    pymongo_has_c: bool
    gil_enabled: bool
    gil: str | None = None
    """``own``, ``shared`` or ``none``, as it was when the interpreter began; None if unknown."""
    interpreter_id: int | None = None
    """0 for the main interpreter; None on a Python that can't tell."""
    prefix: str
    answers: int
    first: int = 0
    """How many answers the whole cell had given before this interpreter's first."""
    threads: int
    """How many different threads answered."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A way in which requests failed, and how often; ``body`` is the start of one such answer."""

    phase: str
    kind: str
    url: str
    count: int
    status: int | None
    error: str
    body: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A value that did not survive a round trip, as the application itself reported it."""

    phase: str
    text: str
    count: int
    pid: int
    application_group: str
    first: int = 0
    """How many answers the whole cell had given before the first that told of it."""
    own_first: int = 0
    """How many of those were this interpreter's own."""


class ProcessSample(msgspec.Struct, frozen=True, kw_only=True):
    """The counted resources of one process; None where it could not be read."""

    pid: int
    role: Role
    descriptors: int | None
    threads: int | None
    connections: int | None
    """TCP connections of this process to the deployment, from ``/proc``."""
    kinds: dict[str, int] = {}
    """The descriptors by kind: ``socket``, ``file``, ``pipe``, ``eventpoll`` and so on."""


class MemorySample(msgspec.Struct, frozen=True, kw_only=True):
    """What one process has in use, after each of its interpreters has collected its garbage.

    ``requests`` are those that this process has answered. A metric is None where there is none.
    """

    pid: int
    requests: int
    blocks: int | None
    """Blocks handed out by Python's own allocator, in all interpreters of the process."""
    malloc: int | None
    """Bytes handed out by the C library's malloc."""
    uss: int | None
    """Bytes of resident memory that this process shares with no other one."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of every resource while the server is quiet.

    ``requests`` counts the requests answered since the server started. The counts of the deployment
    are None where it could not, or may not, be asked.
    """

    phase: str
    time: float
    requests: int
    server_connections: int | None
    """The deployment's own count of the subject's connections."""
    by_member: tuple[int, ...] = ()
    """How many of them each member has, in the order of the URI; empty if unknown."""
    cursors: int | None = None
    """Cursors on the cell's own database that are open and idle."""
    sessions: int | None = None
    """Logical sessions that the primary knows, whoever has them."""
    processes: tuple[ProcessSample, ...]
    memory: tuple[MemorySample, ...] = ()
    """Read at some samples only: it takes requests of its own."""


class ObjectGrowth(msgspec.Struct, frozen=True, kw_only=True):
    """What grew in one interpreter while it answered ``requests``, seen from inside.

    Read in the diagnosing pass, after a leak of memory was found.
    """

    pid: int
    application_group: str
    requests: int
    types: tuple[tuple[str, int], ...]
    """Types with the most new objects, and how many; of those that something still refers to."""


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """How far a leaking count grew while one URL alone was asked, in the diagnosing pass."""

    check: str
    url: str
    requests: int
    units: int


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """How far a count that seems to leak went on growing, once all pools had been filled."""

    check: str
    requests: int
    units: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the server began or ended. ``signal`` and ``exit`` are both None if unknown."""

    phase: str
    time: float
    kind: Literal["born", "died"]
    pid: int
    role: Role
    exit: int | None = None
    signal: int | None = None
    core: bool = False
    """Whether the kernel says that it left a core file."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A call that has not returned."""

    function: str
    """``<signal handler>`` stands for the arrival of a signal; empty if nobody knows."""
    language: Literal["python", "c"]
    file: str = ""
    line: int = 0
    library: str = ""
    """The executable or shared object that a C function is in, without its directory."""


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """What one thread of a process was doing."""

    tid: int
    """As the kernel counts threads; that of a process's first one is its pid."""
    interpreter: str = ""
    """``main``, or the number of the interpreter that it was in; empty if in none, or unknown."""
    gil: Literal["holds", "waits", ""] = ""
    """Whether it had the interpreter lock, or wanted it."""
    frames: tuple[Frame, ...] = ()
    """The most recent call first, Python and C; empty if they could not be told."""


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """What the threads of one process were doing as it died, or while it hung."""

    pid: int
    role: Role
    phase: str
    why: Literal["crash", "hang"]
    signal: int | None = None
    thread: int = 0
    """The tid of the thread that crashed; 0 if nobody can tell, and of a hang."""
    tool: str = ""
    """What has read it: ``pystack``, ``gdb``, both, or nothing."""
    threads: tuple[Thread, ...] = ()
    note: str = ""
    """Why there is nothing, or less than there might be, and how to get it."""


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the application had begun and that never came to an end in it."""

    pid: int
    tid: int
    """Of the thread that worked at it; 0 before Python 3.8."""
    url: str
    """Its path and query, and what the probe was asked to do for it."""
    started: float
    name: str = ""
    """What the load calls it, where it has to know it again."""


class LeftoverThreads(msgspec.Struct, frozen=True, kw_only=True):
    """Threads that were there when all exit handlers of their interpreter had been called."""

    pid: int
    application_group: str
    threads: tuple[str, ...]
    """Their names."""


EvidenceKind = Literal["core", "fatal", "identity", "log", "leftover", "requests"]
"""Core files, what an interpreter wrote when it died, who loaded the application, the error log,
threads that outlive their interpreter, and the requests that were running."""


class MissingEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence of one kind that was not there as it should be: removed, replaced, or refused."""

    kind: EvidenceKind
    reasons: tuple[str, ...]


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the error log and the phase in which it was written."""

    phase: str
    text: str


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A named part of the experiment."""

    name: str
    started: float
    seconds: float
    requests: int


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """One time that processes of the server were replaced at our request, under load."""

    phase: str
    """``restart`` or ``reload``."""
    time: float
    """When it was asked for."""
    seconds: float
    """From then until the last of the processes of before had gone."""
    replaced: tuple[int, ...]
    """The processes of before, Apache's parent not among them."""
    leftover: tuple[int, ...]
    """Those of them that were still there at the deadline."""
    begun: int
    """Requests that had begun before, and were meant to be over after it."""
    broken: int
    """Those of them that failed."""
    requests: int
    """All requests around it."""
    refused: int
    """Those of them that failed, the broken ones left out."""
    last_refused: float | None
    """Seconds from the restart to the last of these."""
    renewed: bool
    """Whether processes that came after it answered."""
    orphaned: int | None
    """Connections that the deployment counts, and that no living process of the server has."""
    parent_memory: int | None
    """Bytes of memory that Apache's parent alone has, afterwards."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that failed alike around a fault; seconds are from the fault to their ends."""

    kind: str
    status: int | None
    error: str
    count: int
    first: float
    last: float


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of the deployment, under load. Seconds are counted from when it began."""

    fault: str
    time: float
    """When it began."""
    over: float
    """Seconds until what had been done was undone."""
    primary_lost: float | None
    """Seconds until there was no primary; None if there was one all the time."""
    primary_again: float | None
    """Seconds until there was one again, for good; 0 if there always was; None if there never
    was one."""
    recovered: float | None
    """Seconds until each interpreter of each process had answered again, and none failed after.
    None if that did not come in time."""
    memory: tuple[tuple[float, int], ...] = ()
    """While it lasted: seconds, and bytes of memory that the workers had for themselves."""
    silent: tuple[str, ...] = ()
    """The interpreters that have not answered since there was a primary again."""
    requests: int
    """Requests around it; the first begin a little before it."""
    failures: tuple[Failed, ...] = ()
    slowest: float
    """Seconds that the slowest answered request took: it waited for a primary, most likely."""
    before: Sample
    """That of the first outage is the baseline: all members have been primary by then, and the
    pools of all are full."""
    after: Sample | None
    """As soon as no count was above the baseline; else when waiting for it had no more sense.
    None if the server did not recover."""
    settled: float | None = None
    """Seconds from the end of the load to that reading."""


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """How the server went away when asked to stop."""

    seconds: float
    leftover: tuple[int, ...]
    """Pids that were still there at the deadline and had to be killed by us."""
    connections_left: int | None
    """The subject's connections on the deployment after the farewell deadline."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured in one cell. What is judged is this and nothing else."""

    plan: LoadPlan
    urls: tuple[str, ...]
    phases: tuple[Phase, ...] = ()
    requests: int = 0
    identities: tuple[Identity, ...] = ()
    loaded: tuple[Identity, ...] = ()
    """Interpreters that loaded the application, and ended before they answered once."""
    failures: tuple[Failure, ...] = ()
    problems: tuple[Problem, ...] = ()
    samples: tuple[Sample, ...] = ()
    workers: tuple[int, int] = (1, 1)
    """Processes that run the application, and request threads in each."""
    owned: bool = True
    """Whether nobody else used the deployment; false for one that was there."""
    decided_early: str = ""
    """What the judge was sure of before the load was over; empty if all of it was carried out."""
    budget_exhausted: str = ""
    """Why the load ended before all of its requests were made; empty if it did not."""
    object_growth: tuple[ObjectGrowth, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    events: tuple[Event, ...] = ()
    log: tuple[LogLine, ...] = ()
    log_lines_dropped: int = 0
    fatal_traces: tuple[str, ...] = ()
    """What the interpreter itself wrote when it died (faulthandler), one text a process."""
    stacks: tuple[Stack, ...] = ()
    """Of processes that crashed or hung; the first of each kind."""
    unfinished: tuple[Unfinished, ...] = ()
    """Requests that were running when their process ended."""
    leftover_threads: tuple[LeftoverThreads, ...] = ()
    missing: tuple[MissingEvidence, ...] = ()
    """What should have been left and was not, an entry for each kind."""
    libraries: tuple[str, ...] = ()
    """Shared objects that the workers had loaded, but for those of the system."""
    idle_samples: tuple[Sample, ...] = ()
    """Readings of a long time without a request, where that was asked for."""
    elsewhere: int = 0
    """Requests, at least, that the server has answered and that were not ours."""
    restarts: tuple[Restart, ...] = ()
    outages: tuple[Outage, ...] = ()
    stop: Stop | None = None
    aborted: str = ""
    """Why the experiment ended before its plan was through; empty if it did not."""
    requests_per_second: float | None = None
    """Of the parallel phase, while requests were in flight."""
    serving_seconds: float = 0.0
    """How long requests were in flight, over all phases."""
    latencies: tuple[Latencies, ...] = ()
    """Of the requests to each URL in each phase, as a histogram."""
    load_timeline: LoadTimeline | None = None
    """Requests and their latencies over time; None where no request ended."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a text that was seen: in the error log, in stacks or in an answer."""

    id: str
    """Of the entry in the catalog, or a code of mod_wsgi; stable."""
    text: str
    """The first such text, or its first line."""
    where: str
    count: int = 1
    """How many lines of the error log are explained by it."""
    meaning: str
    versions: str
    action: str
    source: str
    """Where it is documented or was reported."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: what was seen, what it means, what to do, where to look."""

    check: str
    seen: str
    meaning: str
    action: str
    evidence: tuple[str, ...] = ()
    explained: tuple[Explanation, ...] = ()
    """What is known of the evidence, each thing once."""


class RestOfLog(msgspec.Struct, frozen=True, kw_only=True):
    """What the error log holds beside what the findings tell of. None of it fails a cell."""

    known: tuple[Explanation, ...] = ()
    unknown: tuple[str, ...] = ()
    """The first different lines of errors that nobody knows: of Apache, mod_wsgi or a library."""
    unknown_lines: int = 0
    """How many such lines there are."""
    application_lines: int = 0
    """Lines that the application has written, and that are not known."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check: pass, fail, inconclusive or skipped, and the sentence of why."""

    check: str
    verdict: Verdict
    reason: str


class Excluded(msgspec.Struct, frozen=True, kw_only=True):
    """A combination of the matrix that is no cell of the run, and why."""

    axes: dict[str, str]
    """Each axis by name, with the value that was asked for."""
    reason: str
    cell: str = ""
    """The id of the cell that it would have been, where that is known: another run may have it."""


class CellRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one cell: what it was, what was seen, and what it came to."""

    format: int = FORMAT
    cell: Cell
    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    rest_of_log: RestOfLog | None = None
    rerun: str
    """The command that runs this cell alone."""
    directory: str
    timings: dict[str, float] = {}
    """Seconds by step; ``serving`` is the part in which the subject was under load."""
    toolchain: dict[str, str] = {}
    packages: dict[str, str] = {}
    """All that was installed for the subject, itself included, with exact versions."""
    inputs: str = ""
    """A digest of all that the cell was made of: a record of the same inputs need not be had
    again."""
    tries: tuple[str, ...] = ()
    """Why each earlier try of this cell ended in ``error``; a verdict is never tried again."""
    observed: Observed | None = None

    def summary(self) -> dict[str, Any]:
        """The cell's entry in ``results.json``."""
        return {
            "id": self.cell.id,
            "axes": self.cell.axes,
            "verdict": self.verdict,
            "reason": self.reason,
            "findings": self.findings,
            "checks": self.checks,
            "rest_of_log": self.rest_of_log,
            "rerun": self.rerun,
            "directory": self.directory,
            "timings": self.timings,
            "toolchain": self.toolchain,
            "packages": self.packages,
            "tries": self.tries,
        }


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run: how it was started, and its cells in the order in which they ended."""

    wsgiproof: str
    command: str
    started: str
    """ISO 8601, UTC."""
    finished: str | None
    complete: bool
    """False while the run goes on, and for ever if it was interrupted."""
    planned: tuple[str, ...]
    """The id of every cell."""
    excluded: tuple[Excluded, ...] = ()
    host: dict[str, str]
    cells: tuple[CellRecord, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The ids of planned cells that have no record."""
        there = {cell.cell.id for cell in self.cells}
        return tuple(planned for planned in self.planned if planned not in there)

    def to_json(self) -> dict[str, Any]:
        """``results.json`` as described in ``docs/results.md``."""
        return {
            "format": FORMAT,
            "wsgiproof": self.wsgiproof,
            "command": self.command,
            "started": self.started,
            "finished": self.finished,
            "complete": self.complete,
            "host": self.host,
            "planned": self.planned,
            "excluded": self.excluded,
            "cells": [cell.summary() for cell in self.cells],
        }


def as_json(value: object) -> bytes:
    """Any record, or what is made of records, as JSON.

    What is no Unicode, such as a byte of a path that is not UTF-8, becomes a ``?``.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_unicode(msgspec.to_builtins(value)))


def _unicode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_unicode(key): _unicode(one) for key, one in value.items()}
    return [*map(_unicode, value)] if isinstance(value, list | tuple) else value
