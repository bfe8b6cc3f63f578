"""Planted faults and their negative controls: the proof that each check can fail, and can pass.

A control is the usual application with one thing done wrong, or the same thing done right. The code
for the process is in ``inside/faults*.py``; what Apache's configuration does is here.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    phases: tuple[ExtraPhase, ...] = ()
    """The optional phases that it needs."""
    one_interpreter: bool = False
    """Whether the first interpreter serves every URL."""
    parts: tuple[str, ...] = ()
    """The names of the negative controls that this one combines."""

    def fault_name(self) -> str | None:
        """Return the name of the fault inside; None if the application has no part in it."""
        return (self.fault or self.name) if self.inside else None


_DAEMON = (Mode.DAEMON,)
_MANY = 3000
"""Requests for a rare leak: as many as in the quick profile."""

_CONTROLS = (
    # Connections.
    Control(
        name="leak-connection",
        trips="connections",
        counterpart="reopen-connection",
        about="each request opens a connection to MongoDB and keeps it",
    ),
    Control(
        name="reopen-connection",
        trips="",
        counterpart="leak-connection",
        about="each request opens a connection to MongoDB and closes it",
    ),
    Control(
        name="close-connection-later",
        trips="",
        counterpart="leak-connection",
        about="one in 5 requests opens a connection to MongoDB and closes it three seconds later",
        options={"every": 5},
        requests=600,
    ),
    Control(
        name="leak-connection-rarely",
        trips="connections",
        counterpart="fill-pool",
        about="one in 250 requests opens a connection to MongoDB and keeps it",
        fault="leak-connection",
        options={"every": 250},
        modes=_DAEMON,
        requests=_MANY,
    ),
    Control(
        name="fill-pool",
        trips="",
        counterpart="leak-connection-rarely",
        about="a pool gets one more connection every 100 requests, up to 10, and uses them in turn",
        modes=_DAEMON,
        requests=_MANY,
    ),
    Control(
        name="leak-connection-in-one-interpreter",
        trips="connections",
        counterpart="second-client",
        about="one in 10 requests opens a connection and keeps it, in the second interpreter alone",
        fault="leak-connection",
        options={"every": 10, "only": "interpreter2"},
    ),
    Control(
        name="second-client",
        trips="",
        counterpart="leak-connection-in-one-interpreter",
        about="each interpreter opens a second client in its 40th request, and uses it after that",
        requests=1000,
    ),
    Control(
        name="leak-connection-after-error",
        trips="connections",
        counterpart="handle-error",
        about="one in 20 requests handles an error of the database and keeps a connection",
        fault="leak-after-error",
        options={"every": 20},
    ),
    Control(
        name="handle-error",
        trips="",
        counterpart="leak-connection-after-error",
        about="one in 20 requests handles an error of the database and closes its connection",
        options={"every": 20},
    ),
    Control(
        name="leak-connection-in-bursts",
        trips="connections",
        counterpart="reopen-connection",
        about="one in 300 requests opens 20 connections at once and keeps them",
        fault="leak-connection",
        options={"every": 300, "burst": 20},
        modes=_DAEMON,
        requests=_MANY,
    ),
    Control(
        name="leak-connection-alone",
        trips="connections",
        counterpart="reopen-connection",
        about="one in 40 requests that are alone in their process opens a connection and keeps it",
        options={"every": 40},
        modes=_DAEMON,
        requests=_MANY,
    ),
    Control(
        name="lose-idle-connection",
        trips="connections",
        counterpart="close-idle-connection",
        about="one in 50 requests takes an idle connection out of the client's pool and keeps it",
        options={"every": 50},
        modes=_DAEMON,
        requests=900,
    ),
    Control(
        name="close-idle-connection",
        trips="",
        counterpart="lose-idle-connection",
        about="one in 50 requests takes an idle connection out of the client's pool and closes it",
        options={"every": 50},
        modes=_DAEMON,
        requests=900,
    ),
    # Descriptors, threads, cursors.
    Control(
        name="leak-descriptor",
        trips="descriptors",
        counterpart="reopen-descriptor",
        about="one in 10 requests opens a file and keeps it",
        options={"every": 10},
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
        requests=_MANY,
    ),
    Control(
        name="reopen-descriptor",
        trips="",
        counterpart="leak-descriptor",
        about="each request opens a file and closes it",
    ),
    Control(
        name="leak-thread",
        trips="threads",
        counterpart="join-thread",
        about="one in 10 requests starts a thread that waits forever",
        options={"every": 10},
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
        requests=_MANY,
    ),
    Control(
        name="join-thread",
        trips="",
        counterpart="leak-thread",
        about="each request starts a thread and waits for its end",
    ),
    Control(
        name="leak-cursor",
        trips="cursors",
        counterpart="close-cursor",
        about="one in 10 requests leaves a cursor open on the server",
        options={"every": 10},
    ),
    Control(
        name="close-cursor",
        trips="",
        counterpart="leak-cursor",
        about="each request opens a cursor, reads a part of it and closes it",
    ),
    Control(
        name="leak-session",
        trips="sessions",
        counterpart="end-session",
        about="one in 2 requests starts a session and never ends it",
        options={"every": 2},
    ),
    Control(
        name="leak-session-rarely",
        trips="sessions",
        counterpart="reopen-client",
        about="one in 50 requests starts a session and never ends it, which a full pool hides",
        fault="leak-session",
        options={"every": 50},
        modes=_DAEMON,
        requests=900,
    ),
    Control(
        name="reopen-client",
        trips="",
        counterpart="leak-session-rarely",
        about="one in 5 requests opens a client and closes it, which ends its sessions",
        options={"every": 5},
    ),
    Control(
        name="end-session",
        trips="",
        counterpart="leak-session",
        about="each request starts a session and ends it",
    ),
    Control(
        name="fill-session-pool",
        trips="",
        counterpart="leak-session",
        about="a client's pool of sessions fills slowly: by one every 60 requests",
        modes=_DAEMON,
        requests=600,
    ),
    # Memory.
    Control(
        name="leak-object",
        trips="memory",
        counterpart="sawtooth-memory",
        about="each request appends a small dictionary to a list that is never emptied",
        requests=_MANY,
    ),
    Control(
        name="sawtooth-memory",
        trips="",
        counterpart="leak-object",
        about="each request appends to a list, which is emptied after 200 requests",
        options={"most": 200},
        requests=_MANY,
    ),
    Control(
        name="fill-cache",
        trips="",
        counterpart="leak-object",
        about="a cache gets four more entries with each request, up to 2,000",
        options={"step": 4},
        requests=_MANY,
    ),
    Control(
        name="fill-cache-slowly",
        trips="",
        counterpart="leak-object",
        about="a cache gets one more entry with each request, up to 4,000",
        fault="fill-cache",
        options={"most": 4000},
        modes=_DAEMON,
        requests=_MANY,
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
        requests=_MANY,
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
        requests=_MANY,
    ),
    # What is left outside of the process.
    Control(
        name="leave-child",
        trips="children",
        counterpart="leave-nothing",
        about="one in 10 requests starts a process that sleeps, and leaves it alone",
        options={"every": 10},
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
    ),
    Control(
        name="leave-segment",
        trips="files",
        counterpart="leave-nothing",
        about="one in 10 requests makes a segment of shared memory and does not remove it",
        options={"every": 10},
    ),
    Control(
        name="leave-collection",
        trips="database",
        counterpart="leave-nothing",
        about="one in 10 requests makes a collection and does not drop it",
        options={"every": 10},
    ),
    Control(
        name="leave-nothing",
        trips="",
        counterpart="leave-file",
        about="one in 10 requests makes a child, a file, a segment or a collection and removes it",
        options={"every": 10},
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
    ),
    Control(
        name="crash-when-idle",
        trips="crash",
        counterpart="work-in-request",
        about="each process dies of SIGSEGV after a second without requests",
        options={"idle": 1.0},
    ),
    Control(
        name="crash-at-exit",
        trips="crash",
        counterpart="work-at-exit",
        about="each process dies of SIGSEGV while its interpreters shut down",
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
    # Restarts, and an idle server.
    Control(
        name="leave-process",
        trips="restart",
        counterpart="end-process",
        about="each interpreter starts a process that outlives it and has its own connection",
        phases=(ExtraPhase.RESTART,),
    ),
    Control(
        name="end-process",
        trips="",
        counterpart="leave-process",
        about="each interpreter starts a process, and ends it when it shuts down",
        phases=(ExtraPhase.RESTART, ExtraPhase.RELOAD),
    ),
    Control(
        name="leak-when-idle",
        trips="idle",
        counterpart="work-when-idle",
        about="a file is opened and kept twice a second, after two seconds without a request",
        phases=(ExtraPhase.IDLE,),
    ),
    Control(
        name="work-when-idle",
        trips="",
        counterpart="leak-when-idle",
        about="a file is opened and closed twice a second, after two seconds without a request",
        phases=(ExtraPhase.IDLE,),
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
    # A deployment that fails over.
    Control(
        name="leak-on-failover",
        trips="recovery",
        counterpart="close-on-failover",
        about="a client that has lost its server is kept, and another one is opened",
        phases=(ExtraPhase.FAILOVER,),
    ),
    Control(
        name="close-on-failover",
        trips="",
        counterpart="leak-on-failover",
        about="a client that has lost its server is closed, and another one is opened",
        phases=(ExtraPhase.FAILOVER,),
    ),
    Control(
        name="keep-stale-sockets",
        trips="recovery",
        counterpart="close-stale-sockets",
        about="a pool replaces the sockets that its server has closed, and does not close them",
        phases=(ExtraPhase.FAILOVER,),
    ),
    Control(
        name="close-stale-sockets",
        trips="",
        counterpart="keep-stale-sockets",
        about="a pool closes and replaces the sockets that its server has closed",
        phases=(ExtraPhase.FAILOVER,),
    ),
    Control(
        name="never-recover",
        trips="recovery",
        counterpart="recover-late",
        about="after its client has lost its server, each interpreter fails every request",
        phases=(ExtraPhase.FAILOVER,),
    ),
    Control(
        name="recover-late",
        trips="",
        counterpart="never-recover",
        about="after its client has lost its server, each interpreter fails for half a second",
        phases=(ExtraPhase.FAILOVER,),
    ),
    # Answers, and the interpreters that give them.
    Control(
        name="wrong-value",
        trips="roundtrip",
        counterpart="own-interpreters",
        about="one in 50 requests decodes an integer with one wrong bit",
        options={"every": 50},
    ),
    Control(
        name="wrong-value-from-server",
        trips="roundtrip",
        counterpart="own-interpreters",
        about="one in 50 requests reads an integer from MongoDB with one wrong bit",
        fault="wrong-value",
        options={"every": 50, "from_server": True},
    ),
    Control(
        name="foreign-type",
        trips="roundtrip",
        counterpart="own-interpreters",
        about="a Binary is an instance of another interpreter's class",
    ),
    Control(
        name="foreign-type-from-server",
        trips="roundtrip",
        counterpart="own-interpreters",
        about="a Binary read from MongoDB is an instance of another interpreter's class",
        fault="foreign-type",
        options={"from_server": True},
    ),
    Control(
        name="no-extension",
        trips="environment",
        counterpart="own-interpreters",
        about="the C extensions are missing, and PyMongo silently falls back to Python",
    ),
    Control(
        name="wrong-version",
        trips="environment",
        counterpart="own-interpreters",
        about="PyMongo has another version than the cell declares",
    ),
    Control(
        name="one-interpreter",
        trips="interpreters",
        counterpart="own-interpreters",
        about="the first interpreter silently serves the second URL, too",
        inside=False,
        one_interpreter=True,
    ),
    Control(
        name="own-interpreters",
        trips="",
        counterpart="one-interpreter",
        about="each URL has its own interpreter",
        inside=False,
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
    # The error log.
    Control(
        name="log-traceback",
        trips="error-log",
        counterpart="log-warnings",
        about="one in 50 requests logs the traceback of an exception, and is answered normally",
        options={"every": 50},
    ),
    Control(
        name="log-warnings",
        trips="",
        counterpart="log-traceback",
        about="one in 10 requests logs a warning of another module, and the word 'error'",
        options={"every": 10},
    ),
    Control(
        name="log-lines",
        trips="",
        counterpart="log-traceback",
        about="one in 2 requests logs two lines of ordinary information",
        options={"every": 2, "burst": 2},
    ),
)


def _combined(*names: str) -> Control:
    """Return the control that does what these negative controls do, all in one application."""
    parts = [one for one in _CONTROLS if one.name in names]
    return Control(
        name="negative-controls",
        trips="",
        counterpart="leak-connection",
        about=f"does what these do, all in one application: {', '.join(names)}",
        fault="combined",
        options={"parts": [(name, part.options) for part in parts if (name := part.fault_name())]},
        phases=tuple(phase for phase in ExtraPhase if any(phase in part.phases for part in parts)),
        parts=names,
    )


COMBINED = _combined(
    "own-interpreters",
    "reopen-connection",
    "reopen-descriptor",
    "join-thread",
    "close-cursor",
    "end-session",
    "free-memory",
    "work-in-request",
    "slow-request",
    "log-warnings",
    "work-when-idle",
    "close-on-failover",
    "leave-nothing",
)
"""One cell that shows that a good application passes every check, in the place of one cell each."""

CONTROLS = {control.name: control for control in (*_CONTROLS, COMBINED)}
"""Every control by name."""
