"""Planted faults and their negative controls: the proof that each check can fail, and can pass.

A control is the usual application with one thing done wrong, or the same thing done right. The code
for the process is in ``agent/faults*.py``; what Apache's configuration does is here. These need no
particular subject: ``Subject.controls`` has those that do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from wsgiproof.records.cell import Mode
from wsgiproof.records.plan import ExtraPhase


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """A planted fault with the check that has to fail or, without ``trips``, a negative control."""

    name: str
    trips: str
    counterpart: str
    """The name of the fault's negative control, or of the negative control's fault."""
    about: str
    inside: bool = True
    """Whether the application has a part in it."""
    fault: str = ""
    """Its name inside, if it differs: a fault there may have several rates here."""
    options: Mapping[str, object] = {}
    """The fault's keyword arguments. Each interpreter counts its own requests."""
    modes: tuple[Mode, ...] = tuple(Mode)
    """The modes in which it shows. Embedded mode spreads a rare leak over too many processes."""
    requests: int = 300
    """How many requests its check needs to detect it."""
    maximum_requests: int = 0
    """Requests after which Apache replaces a process; 0: never."""
    processes: tuple[int, int] = (0, 0)
    """The least and the most processes of Apache, if their number varies with the load."""
    phases: tuple[ExtraPhase, ...] = ()
    """The optional phases that it needs."""
    one_interpreter: bool = False
    """Whether the first interpreter serves every URL."""
    combined_in: str = ""
    """The name of the control that does the same together with others, in one application."""
    loaded_late: bool = False
    """Whether the first requests load the application, also in a cell that is to load it early."""
    axes: Mapping[str, str] = {}
    """The values of axes without which it can't show."""
    extra: str = ""
    """The extra of wsgiproof that its cell needs."""
    module: str = ""
    """A module that this extra brings."""
    parts: tuple[str, ...] = ()
    """The names of the controls that this one combines. If they are faults, each is judged by its
    own check, and ``trips`` is that of the first."""

    @property
    def planted(self) -> tuple[str, ...]:
        """The names of the faults that it combines, or else its own name."""
        return self.parts if self.trips and self.parts else (self.name,)

    @property
    def configuration(self) -> dict[str, int]:
        """The configuration of Apache that it needs."""
        least, most = self.processes
        varying = {"min_processes": least, "processes": most} if least else {}
        return {"maximum_requests": self.maximum_requests, **varying}

    def fault_name(self) -> str | None:
        """Return the name of the fault inside; None if the application has no part in it."""
        return (self.fault or self.name) if self.inside else None


COMBINED = "negative-controls"
"""The name of the control that does what several negative controls do, in one application: one cell
shows that a good application passes every check, in the place of one cell each."""
FAULTS, LEAKS, LATE = "several-faults", "several-leaks", "several-late-faults"
"""The same for faults that do not trip each other's checks."""

_DAEMON = (Mode.DAEMON,)
_EMBEDDED = (Mode.EMBEDDED,)
_VARYING = (2, 16)
"""Processes of a server as PyMongo's own test configures it."""
MANY = 3000
"""Requests for a rare leak: as many as in the quick profile."""

COMMON: tuple[Control, ...] = (
    # Descriptors, threads.
    Control(
        name="leak-descriptor",
        trips="descriptors",
        counterpart="reopen-descriptor",
        about="one in 10 requests opens a file and keeps it",
        options={"every": 10},
        combined_in=FAULTS,
    ),
    Control(
        name="close-descriptor-later",
        trips="",
        counterpart="leak-descriptor",
        about="one in 5 requests opens a file and closes it three seconds later",
        options={"every": 5},
        requests=600,
    ),
    Control(
        name="leak-descriptor-rarely",
        trips="descriptors",
        counterpart="reopen-descriptor",
        about="one in 250 requests opens a file and keeps it",
        fault="leak-descriptor",
        options={"every": 250},
        modes=_DAEMON,
        requests=MANY,
    ),
    Control(
        name="leak-descriptor-in-short-lives",
        trips="descriptors",
        counterpart="short-lives",
        about="one in 50 requests opens a file and keeps it, while Apache's children come and go",
        fault="leak-descriptor",
        options={"every": 50, "irregular": True},
        modes=_EMBEDDED,
        processes=_VARYING,
        requests=MANY // 2,
    ),
    Control(
        name="short-lives",
        trips="",
        counterpart="leak-descriptor-in-short-lives",
        about="Apache's children come and go with the load",
        inside=False,
        modes=_EMBEDDED,
        processes=_VARYING,
        requests=MANY // 2,
    ),
    Control(
        name="reopen-descriptor",
        trips="",
        counterpart="leak-descriptor",
        about="each request opens a file and closes it",
        combined_in=COMBINED,
    ),
    Control(
        name="leak-thread",
        trips="threads",
        counterpart="join-thread",
        about="one in 10 requests starts a thread that waits forever",
        options={"every": 10},
        combined_in=LEAKS,
    ),
    Control(
        name="end-thread-later",
        trips="",
        counterpart="leak-thread",
        about="one in 5 requests starts a thread that ends three seconds later",
        options={"every": 5},
        requests=600,
    ),
    Control(
        name="leak-thread-rarely",
        trips="threads",
        counterpart="join-thread",
        about="one in 250 requests starts a thread that waits forever",
        fault="leak-thread",
        options={"every": 250},
        modes=_DAEMON,
        requests=MANY,
    ),
    Control(
        name="join-thread",
        trips="",
        counterpart="leak-thread",
        about="each request starts a thread and waits for its end",
        combined_in=COMBINED,
    ),
    # Memory.
    Control(
        name="leak-object",
        trips="memory",
        counterpart="sawtooth-memory",
        about="each request appends a small dictionary to a list that is never emptied",
        requests=MANY,
    ),
    Control(
        name="sawtooth-memory",
        trips="",
        counterpart="leak-object",
        about="each request appends to a list, which is emptied after 200 requests",
        options={"most": 200},
        requests=MANY,
    ),
    Control(
        name="fill-cache",
        trips="",
        counterpart="leak-object",
        about="a cache gets four more entries with each request, up to 2,000",
        options={"step": 4},
        requests=MANY,
    ),
    Control(
        name="fill-cache-slowly",
        trips="",
        counterpart="leak-object",
        about="a cache gets one more entry with each request, up to 4,000",
        fault="fill-cache",
        options={"most": 4000},
        modes=_DAEMON,
        requests=MANY,
    ),
    Control(
        name="expire-cache",
        trips="",
        counterpart="leak-object",
        about="each request adds an entry to a cache, which lives for three seconds",
        modes=_DAEMON,
        requests=1000,
    ),
    Control(
        name="leak-memory",
        trips="memory",
        counterpart="free-memory",
        about="each request allocates 64 bytes with malloc, outside Python, and never frees them",
        requests=MANY,
    ),
    Control(
        name="leak-much-memory",
        trips="memory",
        counterpart="free-memory",
        about="each request allocates 4 kB with malloc, outside Python, and never frees them",
        fault="leak-memory",
        options={"size": 4096},
    ),
    Control(
        name="free-memory",
        trips="",
        counterpart="leak-memory",
        about="each request allocates 64 bytes with malloc, outside Python, and frees them",
        combined_in=COMBINED,
    ),
    Control(
        name="leave-mapping",
        trips="memory",
        counterpart="close-mapping",
        about="each request maps a page of the same file and leaves the mapping, which is shared",
    ),
    Control(
        name="close-mapping",
        trips="",
        counterpart="leave-mapping",
        about="each request maps a page of the same file and unmaps it",
    ),
    Control(
        name="leave-cycles",
        trips="memory",
        counterpart="collect-by-hand",
        about="the collector is off, and each request leaves 30 objects that only it would free",
        options={"size": 30},
    ),
    Control(
        name="collect-by-hand",
        trips="",
        counterpart="leave-cycles",
        about="the collector is off, and one in 20 requests collects what they have left",
        options={"collect": 20},
        requests=MANY,
    ),
    # What is left outside of the process.
    Control(
        name="leave-child",
        trips="children",
        counterpart="leave-nothing",
        about="one in 10 requests starts a process that sleeps, and leaves it alone",
        options={"every": 10},
        combined_in=FAULTS,
    ),
    Control(
        name="leave-zombie",
        trips="children",
        counterpart="leave-nothing",
        about="one in 10 requests starts a process and never waits for its end",
        options={"every": 10},
    ),
    Control(
        name="leave-file",
        trips="files",
        counterpart="leave-nothing",
        about="one in 10 requests makes a temporary file and does not remove it",
        options={"every": 10},
        combined_in=FAULTS,
    ),
    Control(
        name="leave-segment",
        trips="files",
        counterpart="leave-nothing",
        about="one in 10 requests makes a segment of shared memory and does not remove it",
        options={"every": 10},
    ),
    Control(
        name="leave-nothing",
        trips="",
        counterpart="leave-file",
        about="one in 10 requests makes a child, a file or a segment and removes it",
        options={"every": 10},
        combined_in=COMBINED,
    ),
    # Time.
    Control(
        name="slow-down",
        trips="latency",
        counterpart="work-in-request",
        about="each request counts to the square of the number of requests so far",
        options={"step": 60},
        modes=_DAEMON,
    ),
    # Crashes.
    Control(
        name="crash-in-request",
        trips="crash",
        counterpart="work-in-request",
        about="each interpreter dies of SIGSEGV in its 60th request",
        options={"at": 60},
    ),
    Control(
        name="work-in-request",
        trips="",
        counterpart="crash-in-request",
        about="one in 100 requests computes for half a second",
        options={"every": 100, "seconds": 0.5},
        combined_in=COMBINED,
    ),
    Control(
        name="crash-when-idle",
        trips="crash",
        counterpart="work-in-request",
        about="each process dies of SIGSEGV after a second without requests",
        options={"idle": 1.0},
        phases=(ExtraPhase.IDLE,),
    ),
    Control(
        name="crash-at-exit",
        trips="crash",
        counterpart="work-at-exit",
        about="each process dies of SIGSEGV while its interpreters shut down",
    ),
    Control(
        name="crash-at-some-exits",
        fault="crash-at-exit",
        trips="crash",
        counterpart="work-at-exit",
        about="each interpreter dies of SIGSEGV with a probability of 30 % when it shuts down",
        options={"probability": 0.3},
        phases=(ExtraPhase.TRIALS,),
    ),
    Control(
        name="work-at-exit",
        trips="",
        counterpart="crash-at-exit",
        about="each interpreter has a tenth of a second of work to do when it shuts down",
    ),
    Control(
        name="recycle",
        trips="",
        counterpart="crash-in-request",
        about="Apache replaces each process after 600 requests",
        inside=False,
        maximum_requests=600,
        modes=_DAEMON,
        requests=1500,
    ),
    # Hangs.
    Control(
        name="hang-in-request",
        trips="hang",
        counterpart="slow-request",
        about="each interpreter's 60th request is never answered",
        options={"at": 60},
    ),
    Control(
        name="slow-request",
        trips="",
        counterpart="hang-in-request",
        about="one in 50 requests takes half a second",
        options={"every": 50, "seconds": 0.5},
        combined_in=COMBINED,
    ),
    Control(
        name="hang-at-import",
        trips="hang",
        counterpart="slow-start",
        about="the import of the application never finishes",
    ),
    Control(
        name="slow-start",
        trips="",
        counterpart="hang-at-import",
        about="the application takes a second and a half to import",
        options={"seconds": 1.5},
    ),
    Control(
        name="deadlock",
        trips="hang",
        counterpart="ordered-locks",
        about="two interpreters take the same two locks in opposite orders",
        options={"every": 5},
        modes=_DAEMON,
    ),
    Control(
        name="ordered-locks",
        trips="",
        counterpart="deadlock",
        about="two interpreters take the same two locks in the same order",
        options={"every": 5},
    ),
    Control(
        name="hang-at-exit",
        trips="shutdown",
        counterpart="slow-exit",
        about="no interpreter ever finishes its shutdown",
        combined_in=LATE,
    ),
    Control(
        name="hang-at-some-exits",
        fault="hang-at-exit",
        trips="shutdown",
        counterpart="slow-exit",
        about="each interpreter never finishes its shutdown, with a probability of 30 %",
        options={"probability": 0.3},
        phases=(ExtraPhase.TRIALS,),
    ),
    Control(
        name="slow-exit",
        trips="",
        counterpart="hang-at-exit",
        # Apache kills a daemon process 3 seconds after it has asked it to go.
        about="each interpreter has a fifth of a second of work to do when it shuts down",
        fault="work-at-exit",
        options={"seconds": 0.2},
    ),
    # An idle server.
    Control(
        name="leak-when-idle",
        trips="idle",
        counterpart="work-when-idle",
        about="a file is opened and kept twice a second, after two seconds without a request",
        phases=(ExtraPhase.IDLE,),
        combined_in=LATE,
    ),
    Control(
        name="work-when-idle",
        trips="",
        counterpart="leak-when-idle",
        about="a file is opened and closed twice a second, after two seconds without a request",
        phases=(ExtraPhase.IDLE,),
        combined_in=COMBINED,
    ),
    Control(
        name="grow-when-idle",
        trips="idle",
        counterpart="allocate-when-idle",
        about="300 KB are kept twice a second, after a second without a request",
        phases=(ExtraPhase.IDLE,),
    ),
    Control(
        name="allocate-when-idle",
        trips="",
        counterpart="grow-when-idle",
        about="300 KB are allocated and freed twice a second, after a second without a request",
        phases=(ExtraPhase.IDLE,),
    ),
    # Answers, and the interpreters that give them.
    Control(
        name="one-interpreter",
        trips="interpreters",
        counterpart="own-interpreters",
        about="the first interpreter silently serves the second URL, too",
        inside=False,
        one_interpreter=True,
        combined_in=FAULTS,
    ),
    Control(
        name="load-late",
        trips="environment",
        counterpart="own-interpreters",
        about="the first requests load the application, not the process when it starts",
        inside=False,
        modes=_DAEMON,
        loaded_late=True,
    ),
    Control(
        name="own-interpreters",
        trips="",
        counterpart="one-interpreter",
        about="each URL has its own interpreter",
        inside=False,
        combined_in=COMBINED,
    ),
    Control(
        name="fail-to-import",
        trips="responses",
        counterpart="own-interpreters",
        about="the application can't be imported",
    ),
    # Answers.
    Control(
        name="wrong-header",
        trips="responses",
        counterpart="stream-body",
        about="one in 40 answers has a header whose value is a number, which mod_wsgi refuses",
        options={"every": 40},
    ),
    Control(
        name="short-body",
        trips="responses",
        counterpart="stream-body",
        about="one in 40 answers is shorter than its Content-Length",
        options={"every": 40},
    ),
    Control(
        name="answer-redirect",
        trips="responses",
        counterpart="stream-body",
        about="each answer is a redirect",
    ),
    Control(
        name="stream-body",
        trips="",
        counterpart="short-body",
        about="one in 2 answers is sent in parts, with status 201 and a header that is not ASCII",
        options={"every": 2},
    ),
    Control(
        name="answer-another",
        trips="responses",
        counterpart="answer-from-cache",
        about="requests at the same time get the answers of one another",
        modes=_DAEMON,
    ),
    Control(
        name="answer-from-cache",
        trips="",
        counterpart="answer-another",
        about="each answer is kept for 20 requests, and names the one that made it",
    ),
    # The error log.
    Control(
        name="log-traceback",
        trips="error-log",
        counterpart="log-warnings",
        about="one in 50 requests logs the traceback of an exception, and is answered normally",
        options={"every": 50},
        combined_in=FAULTS,
    ),
    Control(
        name="none-in-body",
        trips="error-log",
        counterpart="stream-body",
        about="one in 40 answers has None among the parts of its body",
        options={"every": 40},
    ),
    Control(
        name="log-warnings",
        trips="",
        counterpart="log-traceback",
        about="one in 10 requests logs a warning of another module, and the word 'error'",
        options={"every": 10},
        combined_in=COMBINED,
    ),
    Control(
        name="log-lines",
        trips="",
        counterpart="log-traceback",
        about="one in 2 requests logs two lines of ordinary information",
        options={"every": 2, "burst": 2},
    ),
)


def by_name(own: Iterable[Control]) -> dict[str, Control]:
    """Return every control of a subject by name: its ``own``, the common ones, and the combined.

    Those do their parts in this order. So what needs the backend comes right after the workload has
    used it, and not after a part that waits: the backend may be gone then, in phase ``failover``.
    """
    controls = (*own, *COMMON)
    names = dict.fromkeys(one.combined_in for one in controls if one.combined_in)
    combined = [_combine(name, controls) for name in names]
    return {control.name: control for control in (*controls, *combined)}


def _combine(name: str, controls: Iterable[Control]) -> Control:
    parts = [control for control in controls if control.combined_in == name]
    names = tuple(part.name for part in parts)
    return Control(
        name=name,
        trips=parts[0].trips,
        counterpart="leak-descriptor" if name == COMBINED else COMBINED,
        about=f"does what these do, all in one application: {', '.join(names)}",
        fault="combined",
        options={"parts": [(one, part.options) for part in parts if (one := part.fault_name())]},
        requests=max(part.requests for part in parts),
        phases=tuple(phase for phase in ExtraPhase if any(phase in part.phases for part in parts)),
        one_interpreter=any(part.one_interpreter for part in parts),
        parts=names,
    )
