"""The frozen values that a run records, and their JSON form.

``judge`` and ``report`` read nothing else, so everything that a verdict depends on is here.
``docs/results.md`` describes the JSON form; :data:`FORMAT` is its version.
Fields named ``time`` and ``started`` are seconds of CLOCK_MONOTONIC; ``seconds`` are durations.
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
    """The verdict on a cell or on one of its checks. Missing evidence is never a pass."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    SKIPPED = "skipped"


class Prerequisite(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a run needs on this machine: what was found, or the problem and its fix."""

    name: str
    found: str = ""
    problem: str = ""


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """The running server of one cell, as ``wsgiproof serve`` shows it."""

    cell: str
    urls: Mapping[str, str]
    """The application group of each URL."""
    mongodb: str
    """The URI of its deployment, without credentials; empty if it has none."""
    database: str
    pids: Mapping[Role, tuple[int, ...]]
    config: str
    error_log: str


class Role(StrEnum):
    """What a process of the server is for."""

    PARENT = "parent"
    """Apache's parent process: starts and supervises the others, and serves no request."""
    WORKER = "worker"
    """Runs the application: a daemon process, or a child in embedded mode."""
    FRONTEND = "frontend"
    """In daemon mode, a child that accepts requests and passes them to the daemon process."""
    HELPER = "helper"
    """A process that one of the others started, such as the ldconfig of Python 2's ``uuid``."""


class PhaseName(StrEnum):
    """The phases of an experiment, in their order."""

    WARM_UP = "warm-up"
    PARALLEL = "parallel"
    SERIAL = "serial"
    COOL_DOWN = "cool-down"
    EXTRA_LOAD = "extra-load"
    """More load, followed by another cool-down, if the judge could not decide."""
    DIAGNOSIS = "diagnosis"
    FAILOVER = "failover"
    """Members of the deployment are killed, paused and stepped down, under load."""
    RESTART = "restart"
    """Apache restarts gracefully, under load."""
    RELOAD = "reload"
    """The script is touched, so that mod_wsgi replaces its daemon process."""
    IDLE = "idle"
    """The server is watched for a long time without a request."""
    STOP = "stop"


class ExtraPhase(StrEnum):
    """The optional phases, in addition to load and stop."""

    RESTART = "restart"
    RELOAD = "reload"
    FAILOVER = "failover"
    IDLE = "idle"


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much load there is, and all deadlines. It is recorded because the judge reads it."""

    parallel: int
    """Requests of the parallel phase."""
    serial: int
    """Requests of the serial phase."""
    connections: int
    """Requests in flight at once in the parallel phase."""
    extra_requests: int = 0
    """Requests that may be added at most, if the judge can't decide yet."""
    warm_up: int = 250
    """Requests between filling the pools and the first sample."""
    round: int
    """Requests between two samples, at most; the first rounds are shorter."""
    memory_every: int = 250
    """Requests between two memory samples, at least: a memory sample takes extra requests."""
    request_deadline: float = 30.0
    """Seconds after which a request without an answer counts as hung."""
    start_deadline: float = 30.0
    """Seconds within which the first requests have to be answered."""
    stop_deadline: float = 15.0
    """Seconds within which all processes have to end after a stop."""
    stop_patience: float = 0.8
    """Seconds after a stop at which the stacks of processes that still run are read. Most servers
    end within 0.2. Apache kills its daemon processes 3 seconds into a stop, and on a busy machine
    it takes a second to read the stacks of one."""
    disconnect_timeout: float = 5.0
    """Seconds after a stop within which the deployment has to see the connections close."""
    cool_down: float = 1.5
    """Seconds without a request after the load, in which pools get back what was borrowed."""
    drain: float = 0.0
    """Seconds without a request, at most, after which what has grown is called a leak. Something
    that lives for less ends in them. 0: there was no such wait."""
    cache_entries: int = 0
    """Entries that a cache may have: memory has to grow for as many requests to one interpreter."""
    phases: tuple[ExtraPhase, ...] = ()
    """The optional phases of the cell."""
    restarts: int = 1
    """Graceful restarts in a row, and reloads in a row, in their phases."""
    fault_seconds: float = 3.0
    """Seconds for which members of the deployment are paused or down, in phase ``failover``."""
    recovery_deadline: float = 15.0
    """Seconds after a new primary within which every request has to be answered again. Each monitor
    checks within ``heartbeatFrequencyMS``, 10 seconds, and the check takes time (specification of
    server discovery and monitoring)."""
    settle_deadline: float = 25.0
    """Seconds within which counts then have to fall to their baseline."""
    restart_deadline: float = 15.0
    """Seconds within which replaced processes have to end after a restart."""
    idle_seconds: float = 30.0
    """Seconds for which the phase ``idle`` watches a server without a request."""
    expect_status: tuple[int, ...] = ()
    """Statuses that are right beside those of success (200 to 299)."""
    expect_body: str = ""
    """A regular expression that the body of each answer has to match."""
    max_seconds: float | None = None
    """Seconds after which the load ends early; None: never."""
    seed: int = 1
    """The seed of the random choice of URLs."""
    max_files: float = 1.0
    """Files that 100 requests may leave behind without a finding."""
    max_slowdown: float = 2.0
    """How many times as long the last requests may take as the first ones."""
    max_latency: float | None = None
    """Seconds that a request may take; None: up to the deadline."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What one interpreter reported about itself, and in how many answers."""

    url: str
    pid: int
    token: str
    """Unique for each interpreter: two URLs with the same token share an interpreter."""
    application_group: str | None
    process_group: str | None
    """Empty in embedded mode; None if it was not reported."""
    python: str
    mod_wsgi: str | None
    pymongo: str
    pymongo_path: str
    mpm: str | None
    bson_has_c: bool
    pymongo_has_c: bool
    gil_enabled: bool
    gil: str | None = None
    """``own``, ``shared`` or ``none``, when the interpreter started; None if unknown."""
    interpreter_id: int | None = None
    """0 for the main interpreter; None if this Python does not provide it."""
    prefix: str
    answers: int
    first: int = 0
    """How many answers the whole cell had given before this interpreter's first one."""
    threads: int
    """How many different threads answered."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that failed in the same way; ``body`` is the start of one of their answers."""

    phase: str
    kind: str
    url: str
    first: int | None = None
    """How many answers the whole cell had given before the first of them; None if unknown."""
    own_first: int = 0
    """How many of those answers this URL had given."""
    count: int
    status: int | None
    error: str
    body: str


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """How much the right answers to one URL differ, by their bodies."""

    url: str
    total: int
    same: int
    """How many of them are equal to the most frequent one."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A value that changed in a round trip, as the application reported it."""

    phase: str
    text: str
    count: int
    pid: int
    application_group: str
    first: int = 0
    """How many answers the whole cell had given before the first one that reported it."""
    own_first: int = 0
    """How many of those answers came from this interpreter."""


class ProcessSample(msgspec.Struct, frozen=True, kw_only=True):
    """The counted resources of one process; None if a count could not be read."""

    pid: int
    role: Role
    descriptors: int | None
    threads: int | None
    connections: int | None
    """TCP connections of this process to the deployment, from ``/proc``."""
    states: dict[str, int] = {}
    """Those connections by their TCP state: ``ESTABLISHED``, ``CLOSE_WAIT`` and so on."""
    kinds: dict[str, int] = {}
    """The descriptors by kind: ``socket``, ``file``, ``pipe``, ``eventpoll`` and so on."""


class MemorySample(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of one process, after each of its interpreters has collected its garbage.

    ``requests`` are those that this process has answered. A metric is None if it is not available.
    """

    pid: int
    requests: int
    blocks: int | None
    """Blocks allocated by Python's own allocator, in all interpreters of the process."""
    malloc: int | None
    """Bytes allocated by the C library's malloc."""
    uss: int | None
    """Bytes of resident memory that only this process has (unique set size)."""
    mapped: int | None = None
    """Bytes of its address space, shared and untouched mappings included."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of every resource while the server has no requests.

    ``requests`` counts the requests answered since the server started. The counts of the deployment
    are None if it could not, or may not, be queried.
    """

    phase: str
    time: float
    requests: int
    server_connections: int | None
    """The deployment's count of the subject's connections."""
    by_member: tuple[int, ...] = ()
    """How many of them each member has, in the order of the URI; empty if unknown."""
    cursors: int | None = None
    """Open, idle cursors on the cell's own database."""
    sessions: int | None = None
    """Logical sessions on the deployment that no client has ended, of all clients."""
    processes: tuple[ProcessSample, ...]
    memory: tuple[MemorySample, ...] = ()
    """Read in some samples only: it takes extra requests."""
    counts: dict[str, int | None] = {}
    """More counts of the whole subject, by name; None if one could not be counted. A name is left
    out if what it counts may come from another program."""
    work: Work | None = None
    """None if the cell was recorded before this was measured."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests since the start of the server took, in seconds."""

    serving: float
    """With at least one request in flight."""
    cpu: float
    """Processor time of the workers."""
    waited: float
    """Waiting for a processor: the sum over the threads of Apache, wsgiproof and its mongod."""


class ObjectGrowth(msgspec.Struct, frozen=True, kw_only=True):
    """The types of which one interpreter had more objects after it had answered ``requests``.

    Counted inside the interpreter in phase ``diagnosis``, after memory was found to leak.
    """

    pid: int
    application_group: str
    requests: int
    types: tuple[tuple[str, int], ...]
    """The types with the most new objects, and how many. Only referenced objects are counted."""


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """By how many units a leaking count grew while one URL alone got all requests."""

    check: str
    url: str
    requests: int
    units: int


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """By how many units a suspected count kept growing after all pools had been filled."""

    check: str
    requests: int
    units: int
    alone: bool = False
    """Whether the requests came one after the other, because it grew only then."""


class CacheTrial(msgspec.Struct, frozen=True, kw_only=True):
    """The memory while one URL alone gets requests, after any usual cache behind it is full."""

    url: str
    full: tuple[int, ...]
    """The processes that had answered as many requests to the URL as the plan's
    ``cache_entries`` before the first reading."""
    readings: tuple[tuple[MemorySample, ...], ...]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the server started or ended. ``signal`` and ``exit`` are None if unknown."""

    phase: str
    time: float
    kind: Literal["born", "died"]
    pid: int
    role: Role
    exit: int | None = None
    signal: int | None = None
    core: bool = False
    """Whether the kernel reports that it left a core file."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A call that has not returned."""

    function: str
    """``<signal handler>`` marks the arrival of a signal; empty if unknown."""
    language: Literal["python", "c"]
    file: str = ""
    line: int = 0
    library: str = ""
    """The executable or shared object that a C function is in, without its directory."""


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """What one thread of a process was doing."""

    tid: int
    """The kernel's thread id; that of the main thread is the pid."""
    interpreter: str = ""
    """``main``, or the number of its interpreter; empty if it was in none, or if unknown."""
    gil: Literal["holds", "waits", ""] = ""
    """Whether it held the interpreter lock, or waited for it."""
    frames: tuple[Frame, ...] = ()
    """The most recent call first, Python and C; empty if they could not be read."""


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """The threads of one process when it crashed, or while it hung."""

    pid: int
    role: Role
    phase: str
    why: Literal["crash", "hang"]
    signal: int | None = None
    thread: int = 0
    """The tid of the thread that crashed; 0 if it is unknown, or for a hang."""
    tool: str = ""
    """The tool that read it: ``pystack``, ``gdb``, both, or none."""
    threads: tuple[Thread, ...] = ()
    note: str = ""
    """Why the stack is missing or incomplete, and how to get it."""
    stopped: float = 0.0
    """Seconds for which the process was stopped to read it, at most."""


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the application had begun and not finished."""

    pid: int
    tid: int
    """The thread that served it; 0 before Python 3.8."""
    url: str
    """Its path and query, and the names of the commands that it carried."""
    started: float
    name: str = ""
    """The name that the load gave it; empty for most."""


class LeftoverThreads(msgspec.Struct, frozen=True, kw_only=True):
    """Threads that were still running after all exit handlers of their interpreter."""

    pid: int
    application_group: str
    threads: tuple[str, ...]
    """Their names."""


EvidenceKind = Literal["core", "fatal", "identity", "log", "leftover", "requests"]
"""Core files, fatal traces, the identities of interpreters that loaded the application, the error
log, threads that outlive their interpreter, and the requests in flight."""


class MissingEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence of one kind that is missing because it was removed, replaced or refused."""

    kind: EvidenceKind
    reasons: tuple[str, ...]


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the error log, and the phase in which it was written."""

    phase: str
    text: str


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of the experiment."""

    name: str
    started: float
    seconds: float
    requests: int


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """One graceful restart or reload, under load."""

    phase: str
    """``restart`` or ``reload``."""
    time: float
    """When it was requested."""
    seconds: float
    """From the request until the last replaced process had ended."""
    replaced: tuple[int, ...]
    """The processes to be replaced, without Apache's parent."""
    leftover: tuple[int, ...]
    """Those of them that still ran at the deadline."""
    begun: int
    """Requests that were in flight when it was requested, and lasted beyond that."""
    broken: int
    """Those of them that failed."""
    requests: int
    """All requests around it."""
    refused: int
    """Those of them that failed, without the broken ones."""
    last_refused: float | None
    """Seconds from the restart to the last refused request."""
    renewed: bool
    """Whether processes that started after it answered."""
    orphaned: int | None
    """Connections that the deployment counts and no living process of the server has."""
    processor_waits: dict[int, float] = {}
    """Seconds that each replaced process waited for a processor meanwhile."""
    parent_memory: int | None
    """Bytes of memory that only Apache's parent has, after the restart."""


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that failed in the same way around a fault.

    ``first`` and ``last`` are seconds from the fault to the ends of these requests.
    """

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
    """Seconds until the fault was undone."""
    primary_lost: float | None
    """Seconds until there was no primary; None if there was one all the time."""
    primary_again: float | None
    """Seconds until there was a lasting primary again; 0 if there always was one; None if there
    was none again."""
    recovered: float | None
    """Seconds until each interpreter of each process had answered again and none failed after
    that. None if that did not happen in time."""
    memory: tuple[tuple[float, int], ...] = ()
    """Samples during the fault: seconds, and bytes of memory that only the workers have."""
    silent: tuple[str, ...] = ()
    """The interpreters that have not answered since there was a primary again."""
    requests: int
    """Requests around it; the first ones begin a little before it."""
    failures: tuple[FailureGroup, ...] = ()
    slowest: float
    """Seconds of the slowest answered request, which most likely waited for a primary."""
    before: Sample
    """The sample before the first outage is the baseline: by then each member has been primary, and
    all pools are full."""
    after: Sample | None
    """Taken as soon as no count is above the baseline, or at the settle deadline. None if the
    server did not recover."""
    settled: float | None = None
    """Seconds from the end of the load to this sample."""


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """How the server stopped."""

    seconds: float
    leftover: tuple[int, ...]
    """Processes that still ran at the deadline, so that wsgiproof killed them."""
    connections_left: int | None
    """The subject's connections on the deployment after the disconnect timeout."""
    processor_waits: dict[int, float] = {}
    """Seconds that each process waited for a processor meanwhile, summed over its threads."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured in one cell. The judge reads nothing else."""

    plan: LoadPlan
    urls: tuple[str, ...]
    phases: tuple[Phase, ...] = ()
    requests: int = 0
    identities: tuple[Identity, ...] = ()
    loaded: tuple[Identity, ...] = ()
    """Interpreters that loaded the application and ended before their first answer."""
    failures: tuple[Failure, ...] = ()
    answers: tuple[Answers, ...] = ()
    starved: float = 0.0
    """The largest share of its time for which a process that requests need had waited for a
    processor when a request had no answer; the waits of its threads add up."""
    problems: tuple[Problem, ...] = ()
    samples: tuple[Sample, ...] = ()
    workers: tuple[int, int] = (1, 1)
    """Processes that run the application, and request threads of each."""
    owned: bool = True
    """Whether wsgiproof started the deployment, so that no other client used it."""
    decided_early: str = ""
    """Why the judge was certain before the load was complete; empty if it was not."""
    budget_exhausted: str = ""
    """Why the load ended before all of its requests were made; empty if it did not."""
    full_pools: tuple[Sample, ...] = ()
    """Samples that were taken just after all pools had been filled: the first at the end of the
    warm-up, the second at the end of the load, and others in phase ``diagnosis``."""
    object_growth: tuple[ObjectGrowth, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    drained: tuple[Sample, ...] = ()
    """Samples after drains, with load between them: made if a part of the growth was temporary."""
    cache_trials: tuple[CacheTrial, ...] = ()
    """Made if memory grew as a cache does that is not yet full."""
    events: tuple[Event, ...] = ()
    log: tuple[LogLine, ...] = ()
    log_lines_dropped: int = 0
    fatal_traces: tuple[str, ...] = ()
    """What faulthandler wrote when an interpreter died, one text for each process."""
    stacks: tuple[Stack, ...] = ()
    """The stacks of processes that crashed or hung; the first ones of each kind."""
    unfinished: tuple[Unfinished, ...] = ()
    """Requests that were in flight when their process ended."""
    leftover_threads: tuple[LeftoverThreads, ...] = ()
    missing: tuple[MissingEvidence, ...] = ()
    """Evidence that the processes should have left and did not, an entry for each kind."""
    libraries: tuple[str, ...] = ()
    """Shared objects that the workers had loaded, without those of the system."""
    idle_samples: tuple[Sample, ...] = ()
    """The samples of phase ``idle``."""
    elsewhere: int = 0
    """How many requests, at least, the server answered that came from another program."""
    restarts: tuple[Restart, ...] = ()
    outages: tuple[Outage, ...] = ()
    stop: Stop | None = None
    aborted: str = ""
    """Why the experiment ended before its plan was complete; empty if it did not."""
    requests_per_second: float | None = None
    """The rate of the parallel phase, while requests were in flight."""
    serving_seconds: float = 0.0
    """Seconds during which requests were in flight, over all phases."""
    latencies: tuple[Latencies, ...] = ()
    """A histogram for each URL in each phase."""
    load_timeline: LoadTimeline | None = None
    """Requests and their latencies over time; None if no request ended."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog knows of a text in the error log, in a stack or in an answer."""

    id: str
    """The catalog entry's identifier, or a code of mod_wsgi; stable."""
    text: str
    """The first such text, or its first line."""
    where: str
    count: int = 1
    """How many lines of the error log it explains."""
    meaning: str
    versions: str
    action: str
    source: str
    """Where it is documented or was reported."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One problem: what was seen, what it means, what to do, and the evidence."""

    check: str
    seen: str
    meaning: str
    action: str
    evidence: tuple[str, ...] = ()
    explained: tuple[Explanation, ...] = ()
    """What the catalog knows of the evidence, each entry once."""


class RestOfLog(msgspec.Struct, frozen=True, kw_only=True):
    """What the error log holds that no finding reports. None of it fails a cell."""

    known: tuple[Explanation, ...] = ()
    unknown: tuple[str, ...] = ()
    """The first different error lines of Apache, mod_wsgi or a library that no entry matches."""
    unknown_lines: int = 0
    """How many such lines there are."""
    application_lines: int = 0
    """Lines that the application wrote and that no entry matches."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check: pass, fail, inconclusive or skipped, and a sentence about why."""

    check: str
    verdict: Verdict
    reason: str


class Excluded(msgspec.Struct, frozen=True, kw_only=True):
    """A combination of the matrix that the run leaves out, and why."""

    axes: dict[str, str]
    """Each axis by name, with the requested value."""
    reason: str
    cell: str = ""
    """The id that the cell would have, if that is known: another run may have it."""


class CellRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one cell: what it is, what was observed, and its verdict."""

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
    """Seconds by step; ``serving`` is the time in which the subject was under load."""
    toolchain: dict[str, str] = {}
    packages: dict[str, str] = {}
    """All packages installed for the subject, itself included, with exact versions."""
    inputs: str = ""
    """A digest of everything that the cell depends on. A cell with the same inputs need not run
    again."""
    tries: tuple[str, ...] = ()
    """Why each earlier try ended in ``error``. A cell with another verdict is not retried."""
    observed: Observed | None = None

    def summary(self) -> dict[str, Any]:
        """Return the cell's entry in ``results.json``."""
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
    """A run: how it was started, and its cells in the order in which they ended."""

    wsgiproof: str
    command: str
    started: str
    """ISO 8601, UTC."""
    finished: str | None
    complete: bool
    """False during the run, and after one that was interrupted."""
    planned: tuple[str, ...]
    """The id of every cell."""
    excluded: tuple[Excluded, ...] = ()
    host: dict[str, str]
    cells: tuple[CellRecord, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The ids of planned cells that have no record."""
        recorded = {cell.cell.id for cell in self.cells}
        return tuple(planned for planned in self.planned if planned not in recorded)

    def to_json(self) -> dict[str, Any]:
        """Return ``results.json``, as described in ``docs/results.md``."""
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
    """Return a record, or a value made of records, as JSON.

    Text that is not valid Unicode, such as a byte of a path that is not UTF-8, becomes a ``?``.
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
