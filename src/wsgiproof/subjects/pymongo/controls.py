"""The planted faults that need PyMongo or a deployment, and their negative controls."""

from __future__ import annotations

import msgspec

from wsgiproof.records.cell import InterpreterKind, Mode
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.subjects.controls import COMBINED, FAULTS, LEAKS, MANY, Control
from wsgiproof.subjects.pymongo.axes import Topology, Transport
from wsgiproof.subjects.pymongo.workloads import CRUD, WORKLOADS

_DAEMON = (Mode.DAEMON,)


def _with_tls(control: Control) -> Control:
    """The control in a cell whose deployment has TLS."""
    axes = {"transport": Transport.TLS}
    return msgspec.structs.replace(control, axes=axes, extra="tls", module="trustme")


def _of(workload: str, fault: Control, negative: Control) -> tuple[Control, Control]:
    """A fault and its negative control in cells with this workload."""
    axes = {"workload": workload}
    if WORKLOADS[workload].history:
        axes["topology"] = Topology.REPLICA_SET
    if WORKLOADS[workload].one_interpreter:
        axes["interpreter"] = InterpreterKind.MAIN
    return (
        msgspec.structs.replace(fault, counterpart=negative.name, axes=axes),
        msgspec.structs.replace(negative, counterpart=fault.name, axes=axes),
    )


_OF_WORKLOADS = (
    *_of(
        "gridfs",
        Control(
            name="leave-file-open",
            trips="cursors",
            counterpart="",
            about="one in 10 requests reads the beginning of a file in GridFS and keeps it open",
            options={"every": 10},
        ),
        Control(
            name="close-file",
            trips="",
            counterpart="",
            about="each request reads the beginning of a file in GridFS and closes it",
        ),
    ),
    *_of(
        "transactions",
        Control(
            name="leave-transaction",
            trips="sessions",
            counterpart="",
            about="one in 2 requests begins a transaction and never ends it",
            options={"every": 2},
        ),
        Control(
            name="abort-transaction",
            trips="",
            counterpart="",
            about="each request begins a transaction, and ends its session, which aborts it",
        ),
    ),
    *_of(
        "change-streams",
        Control(
            name="leave-change-stream",
            trips="cursors",
            counterpart="",
            about="one in 10 requests opens a change stream and never closes it",
            options={"every": 10},
        ),
        Control(
            name="close-change-stream",
            trips="",
            counterpart="",
            about="each request opens one more change stream and closes it",
        ),
    ),
    *_of(
        "bulk",
        Control(
            name="lose-bulk-write",
            trips="roundtrip",
            counterpart="",
            about="one in 50 bulk writes loses its last operation",
            options={"every": 50},
        ),
        Control(
            name="handle-bulk-error",
            trips="",
            counterpart="",
            about="one in 2 requests handles the error of a bulk write",
            options={"every": 2},
        ),
    ),
    *_of(
        "async",
        Control(
            name="leave-async-client",
            trips="connections",
            counterpart="",
            about="one in 10 requests opens an AsyncMongoClient and never closes it",
            options={"every": 10},
        ),
        Control(
            name="close-async-client",
            trips="",
            counterpart="",
            about="one in 10 requests opens an AsyncMongoClient and closes it",
            options={"every": 10},
        ),
    ),
    *_of(
        "raw-bson",
        Control(
            name="wrong-raw-byte",
            trips="roundtrip",
            counterpart="",
            about="one in 50 requests reads a RawBSONDocument with one wrong byte",
            options={"every": 50},
        ),
        Control(
            name="copy-raw-document",
            trips="",
            counterpart="",
            about="each request makes a RawBSONDocument again, of the same bytes",
        ),
    ),
    *_of(
        "encryption",
        Control(
            name="leave-key-client",
            trips="connections",
            counterpart="",
            about="one in 10 requests opens a client for the keys of an encryption and keeps it",
            options={"every": 10},
        ),
        Control(
            name="close-key-client",
            trips="",
            counterpart="",
            about="one in 10 requests opens a client for the keys of an encryption and closes it",
            options={"every": 10},
        ),
    ),
)


CONTROLS = (
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
        combined_in=COMBINED,
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
        requests=MANY,
    ),
    Control(
        name="leak-connection-in-short-lives",
        trips="connections",
        counterpart="short-lives",
        about="one in 50 requests opens a connection and keeps it, while Apache's children come "
        "and go",
        fault="leak-connection",
        options={"every": 50, "irregular": True},
        modes=(Mode.EMBEDDED,),
        processes=(2, 16),
        requests=MANY // 2,
    ),
    Control(
        name="fill-pool",
        trips="",
        counterpart="leak-connection-rarely",
        about="a pool gets one more connection every 100 requests, up to 10, and uses them in turn",
        modes=_DAEMON,
        requests=MANY,
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
        requests=MANY,
    ),
    Control(
        name="leak-connection-alone",
        trips="connections",
        counterpart="reopen-connection",
        about="one in 40 requests that are alone in their process opens a connection and keeps it",
        options={"every": 40},
        modes=_DAEMON,
        requests=MANY,
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
    # Cursors, sessions.
    Control(
        name="leak-cursor",
        trips="cursors",
        counterpart="close-cursor",
        about="one in 10 requests leaves a cursor open on the server",
        options={"every": 10},
        combined_in=FAULTS,
    ),
    Control(
        name="close-cursor",
        trips="",
        counterpart="leak-cursor",
        about="each request opens a cursor, reads a part of it and closes it",
        combined_in=COMBINED,
    ),
    Control(
        name="leak-session",
        trips="sessions",
        counterpart="end-session",
        about="one in 2 requests starts a session and never ends it",
        options={"every": 2},
        combined_in=LEAKS,
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
        combined_in=COMBINED,
    ),
    Control(
        name="fill-session-pool",
        trips="",
        counterpart="leak-session",
        about="one in 60 requests uses sessions at the same time, each time one more, up to 35",
        modes=_DAEMON,
        requests=600,
    ),
    # What is left outside of the process.
    Control(
        name="leave-collection",
        trips="database",
        counterpart="drop-collection",
        about="one in 10 requests makes a collection and does not drop it",
        options={"every": 10},
        combined_in=FAULTS,
    ),
    Control(
        name="drop-collection",
        trips="",
        counterpart="leave-collection",
        about="one in 10 requests makes a collection and drops it",
        options={"every": 10},
        combined_in=COMBINED,
    ),
    # Restarts.
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
        combined_in=COMBINED,
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
    # Values, and the environment.
    Control(
        name="wrong-value",
        trips="roundtrip",
        counterpart="own-interpreters",
        about="one in 50 requests decodes an integer with one wrong bit",
        options={"every": 50},
        combined_in=FAULTS,
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
        combined_in=FAULTS,
    ),
    # After the one that keeps modules from being imported: it imports PyMongo.
    Control(
        name="close-client-in-part",
        trips="closed-client",
        counterpart="own-interpreters",
        about="a client that is closed leaves one connection of its pool open",
        combined_in=FAULTS,
    ),
    Control(
        name="wrong-version",
        trips="environment",
        counterpart="own-interpreters",
        about="PyMongo has another version than the cell declares",
    ),
    Control(
        name="lose-extra",
        trips="environment",
        counterpart="keep-extra",
        about="the second interpreter can't import an extra, and PyMongo silently does without it",
        options={"only": "interpreter2"},
        axes={"extras": "zstd"},
    ),
    Control(
        name="keep-extra",
        trips="",
        counterpart="lose-extra",
        about="each interpreter has an extra, a compressor, and uses it",
        inside=False,
        axes={"extras": "zstd", "uri_options": "compressors=zstd"},
    ),
    # TLS, and users.
    _with_tls(
        Control(
            name="trust-any-certificate",
            trips="environment",
            counterpart="reopen-connection-with-tls",
            about="the application does not check the certificate of its server",
        )
    ),
    _with_tls(
        Control(
            name="skip-tls",
            trips="responses",
            counterpart="reopen-connection-with-tls",
            about="the application connects without TLS to a deployment that requires it",
        )
    ),
    _with_tls(
        Control(
            name="leak-connection-with-tls",
            trips="connections",
            counterpart="reopen-connection-with-tls",
            about="each request opens a connection with TLS and keeps it",
            fault="leak-connection",
        )
    ),
    _with_tls(
        Control(
            name="reopen-connection-with-tls",
            trips="",
            counterpart="trust-any-certificate",
            about="each request opens a connection with TLS and closes it",
            fault="reopen-connection",
        )
    ),
    Control(
        name="wrong-password",
        trips="responses",
        counterpart="second-client",
        about="the application has another password than the deployment knows",
    ),
    *_OF_WORKLOADS,
)
_BY_NAME = {control.name: control for control in CONTROLS}
_COMBINED = {control.combined_in for control in CONTROLS} - {""}


def workload_of_control(name: str) -> str:
    """Return the workload without which a control can't show; empty if it shows in each."""
    if name in _BY_NAME:
        return _BY_NAME[name].axes.get("workload", CRUD)
    return CRUD if name in _COMBINED else ""
