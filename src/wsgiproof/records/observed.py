"""All that is measured in one cell: the judge reads this and nothing else.

``docs/results.md`` describes the JSON form. Fields named ``time`` and ``started`` are seconds of
CLOCK_MONOTONIC; ``seconds`` are durations.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from wsgiproof.records.plan import LoadPlan
from wsgiproof.records.traffic import Latencies, LoadTimeline

CONNECTIONS = "connections"
"""The name of the backend's count of the subject's connections."""
_ON_MEMBER = "connections on member "
"""The name of its count on one member of a deployment, followed by the member's number from 1."""
SIGNAL_HANDLER = "<signal handler>"
"""The function of a frame that marks the arrival of a signal."""


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
    subject: dict[str, str | int | bool | None] = {}
    """What the subject said of itself; its fields are the subject's own."""
    mpm: str | None
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


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """Something of their request that the answers to one URL repeat, and that no other request has.

    No answer to a request that was alone repeats that of another.
    """

    what: str
    where: str
    """In which part of the answers: ``headers`` or ``body``."""
    url: str
    alone: int
    """How many answers to requests that were alone repeat their own."""
    together: int
    """How many requests were in flight at the same time as others."""
    others: int
    """How many answers to those repeat that of another request, and not their own."""
    own: str = ""
    """What the first of those requests had itself."""
    other: str = ""
    """What its answer repeats."""
    text: str = ""
    """What stands around that in its answer."""


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
    """TCP connections of this process to the backend, from ``/proc``."""
    states: dict[str, int] = {}
    """Those connections by their TCP state: ``ESTABLISHED``, ``CLOSE_WAIT`` and so on."""
    kinds: dict[str, int] = {}
    """The descriptors by kind: ``socket``, ``file``, ``pipe``, ``eventpoll`` and so on."""
    requests: int | None = None
    """How many it had answered; None for another role, and if the version that recorded the cell
    did not count them."""
    comparable: bool = False
    """Whether only a leak makes its counts differ from others of its own: a second ago, each of its
    request threads had answered in each interpreter, or as many requests as a warm-up has were
    answered; and it is not ending."""


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
    resident: int | None = msgspec.field(name="uss")
    """Bytes of its anonymous memory, also if it is swapped out. In the records of earlier versions
    it is the unique set size, from which the field has its name there."""
    mapped: int | None = None
    """Bytes of its address space, shared and untouched mappings included."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of every resource while the server has no requests.

    ``requests`` counts the requests answered since the server started.
    """

    phase: str
    time: float
    requests: int
    processes: tuple[ProcessSample, ...]
    memory: tuple[MemorySample, ...] = ()
    """Read in some samples only: it takes extra requests."""
    counts: dict[str, int | None] = {}
    """Counts of the whole subject by name, those of its backend included; None if one could not be
    counted. A name is left out if nobody counts it, or if it may count those of another program."""
    work: Work | None = None
    """None if the cell was recorded before this was measured."""

    @property
    def connections(self) -> int | None:
        """The backend's count of the subject's connections; None if unknown."""
        return self.counts.get(CONNECTIONS)


def on_member(number: int) -> str:
    """Return the name of the count of connections on a member, which is numbered from 1."""
    return f"{_ON_MEMBER}{number}"


def of_members(counts: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return the counts of connections on each member of a backend, by their names."""
    return {name: value for name, value in counts.items() if name.startswith(_ON_MEMBER)}


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests since the start of the server took, in seconds."""

    serving: float
    """With at least one request in flight."""
    cpu: float
    """Processor time of the workers."""
    waited: float
    """Waiting for a processor: the sum over the threads of Apache, wsgiproof and its backend."""
    client: float = 0.0
    """Processor time of the load client; 0 if the version that recorded the cell did not measure
    it."""

    def since(self, before: Work) -> Work:
        """Return what was added since ``before``."""
        return Work(
            serving=self.serving - before.serving,
            cpu=self.cpu - before.cpu,
            waited=self.waited - before.waited,
            client=self.client - before.client,
        )


class ObjectGrowth(msgspec.Struct, frozen=True, kw_only=True):
    """The types of which one interpreter had more objects after it had answered ``requests``.

    Counted inside the interpreter in phase ``diagnosis``, after memory was found to leak.
    """

    pid: int
    application_group: str
    requests: int
    types: tuple[tuple[str, int], ...]
    """The types with the most new objects, and how many. Only referenced objects are counted."""
    operations: tuple[tuple[str, float, float], ...] = ()
    """The operations of the subject that leave memory behind when each is done alone, with the
    blocks of Python's allocator and the bytes of malloc that one of them leaves."""


class SocketOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """Where one interpreter opened sockets in phase ``diagnosis`` that were still open at its end.

    Measured after a count that takes sockets was found to leak, with all pools full before and
    after.
    """

    pid: int
    application_group: str
    stack: str
    """The calls, the innermost first."""
    sockets: int


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
    """:data:`SIGNAL_HANDLER` marks the arrival of a signal; empty if unknown."""
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


class Replacement(msgspec.Struct, frozen=True, kw_only=True):
    """One restart or reload, which replaces processes."""

    phase: str
    """``restart``, ``reload`` or ``trials``."""
    time: float
    """When it was requested."""
    seconds: float
    """From the request until the last replaced process had ended."""
    replaced: tuple[int, ...]
    """The processes to be replaced, without Apache's parent."""
    leftover: tuple[int, ...]
    """Those of them that still ran at the deadline."""
    processor_waits: dict[int, float] = {}
    """Seconds that each replaced process waited for a processor meanwhile."""


class Restart(Replacement, frozen=True, kw_only=True):
    """One graceful restart or reload, under load."""

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
    """Connections that the backend counts and no living process of the server has."""
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
    """One fault of the backend, under load. Seconds are counted from when it began."""

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
    """The subject's connections that the backend counts after the disconnect timeout."""
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
    echoes: tuple[Echo, ...] = ()
    starved: float = 0.0
    """The largest share of its time for which a process that requests need had waited for a
    processor when a request had no answer; the waits of its threads add up."""
    problems: tuple[Problem, ...] = ()
    samples: tuple[Sample, ...] = ()
    workers: tuple[int, int] = (1, 1)
    """Processes that run the application, and request threads of each."""
    backend: str = ""
    """What the subject talked to, such as the name and version of a database; empty if nothing."""
    owned: bool = True
    """Whether wsgiproof started the backend, so that no other client used it."""
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
    socket_origins: tuple[SocketOrigin, ...] = ()
    drained: tuple[Sample, ...] = ()
    """Samples after drains, with load between them: made if a part of the growth was temporary."""
    settled: tuple[Sample, ...] = ()
    """Samples of a load with few requests at once, in which the processes stayed: made if a count
    of processes that come and go had grown."""
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
    trials: tuple[Replacement, ...] = ()
    """The restarts of phase ``trials``, without a request in flight."""
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
