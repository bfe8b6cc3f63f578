"""The MongoDBs that a run may use: a mongod to start, or an existing deployment."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from packaging.version import Version

from wsgiproof.errors import PrerequisiteMissing, UsageError
from wsgiproof.process.account import Account
from wsgiproof.records.cell import AxisValue, Cell
from wsgiproof.subjects.backend import Asked, Backends
from wsgiproof.subjects.pymongo.axes import (
    DEPLOYED,
    MEMBERS,
    SERVERS,
    URI,
    Topology,
    Transport,
)
from wsgiproof.subjects.pymongo.certificates import check_trustme
from wsgiproof.subjects.pymongo.controls import workload_of_control
from wsgiproof.subjects.pymongo.extras import in_words, parse_extras
from wsgiproof.subjects.pymongo.extras import label_of as label_of_extras
from wsgiproof.subjects.pymongo.mongod_binary import Mongod, find_mongod
from wsgiproof.subjects.pymongo.uri import files, is_reference, is_uri, resolve
from wsgiproof.subjects.pymongo.uri_options import (
    NO_OPTIONS,
    in_uri,
    label_of,
    parse_options,
    why_not_acknowledged,
)
from wsgiproof.subjects.pymongo.workloads import CRUD, why_unsupported

_SCRAM = Version("2.8")
"""The first PyMongo that authenticates with SCRAM-SHA-1, which wsgiproof's own deployments ask
for (PyMongo's changelog, "Changes in Version 2.8")."""
_OP_MSG = Version("3.7")
"""The first PyMongo that uses OP_MSG. Measured: MongoDB 6.0.5 refuses 3.6.1 ("Unsupported OP_QUERY
command: insert"), and serves 3.7.2."""
_TLS_OPTIONS = Version("3.9")
"""The first PyMongo with ``tls`` and ``tlsCAFile`` in URIs (its changelog)."""
_TLS_MODE = Version("4.2")
"""The first MongoDB with ``--tlsMode`` (MongoDB 4.2, release notes)."""
_USUAL = {"transport": Transport.PLAIN, "workload": CRUD}
"""The value of an axis that ids of cells do not show."""
_NAMES = {
    Topology.STANDALONE: "a standalone",
    Topology.REPLICA_SET: "a replica-set",
    Topology.SHARDED: "a sharded cluster",
    Topology.LOAD_BALANCED: "behind a load balancer",
}
_WITHOUT_OP_QUERY = Version("5.1")
"""The first MongoDB that supports only OP_MSG (MongoDB manual, "Legacy Opcodes")."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One value of the axis ``mongodb``."""

    name: str
    """In the ids of cells; empty for the default one."""
    asked: str
    """The path, the URI or the reference that the value stands for; empty for the default one."""
    target: Mongod | str
    """The mongod to start, or the URI of an existing deployment."""


class MongoDBs(Backends):
    """The servers by the value of the axis ``mongodb``; none if no cell needs MongoDB."""

    def __init__(
        self,
        servers: Mapping[str, Server],
        existing: Mapping[str, tuple[Topology, str]] | None = None,
    ) -> None:
        """``existing`` has the topology and the version of each existing deployment, by the value
        of the axis; :meth:`resolve` asks those that are not in it."""
        self._servers = servers
        self._existing = dict(existing or {})
        self.found = "; ".join(map(_described, servers.values())) or "none is needed"
        mongods = [one.target for one in servers.values() if isinstance(one.target, Mongod)]
        self.version = f"MongoDB {mongods[0].version}" if len(mongods) == 1 else ""

    def resolve(self) -> None:
        """Connect to each existing deployment."""
        for value, server in self._servers.items():
            if isinstance(server.target, str) and value not in self._existing:
                # Imported here, since it imports PyMongo: most commands have nothing to connect to.
                from wsgiproof.subjects.pymongo.deployment import connect_deployment

                deployment = connect_deployment(server.target)
                deployment.close()
                self._existing[value] = deployment.topology, deployment.version

    def why_not(self, values: Mapping[str, str], versions: Mapping[str, str], control: str) -> str:
        """Return why a combination is no cell: a topology that the deployment does not have, or a
        PyMongo that it can't serve."""
        if reason := (
            self._why_no_tls(values, versions)
            or self._why_no_options(values)
            or _why_no_workload(values, versions, control)
        ):
            return reason
        if values["topology"] == Topology.NONE:
            return "the application with the fault needs a deployment" if control else ""
        server = self._servers[values["mongodb"]]
        if isinstance(server.target, Mongod):
            if values["topology"] not in DEPLOYED:
                return (
                    f"wsgiproof starts no {values['topology']} deployment: name one with "
                    "'--mongodb URI'"
                )
            return why_incompatible(versions["pymongo"], server.target.version)
        topology, version = self._existing[values["mongodb"]]
        if topology != values["topology"]:
            chosen = "" if topology in DEPLOYED else f", which '--topology {topology}' tests"
            return f"the existing deployment is {_NAMES[topology]}{chosen}"
        return why_incompatible(versions["pymongo"], version)

    def _why_no_tls(self, values: Mapping[str, str], versions: Mapping[str, str]) -> str:
        if values["transport"] == Transport.PLAIN:
            return ""
        if values["topology"] == Topology.NONE:
            return "without a deployment there is no connection that could have TLS"
        mongod = self._servers[values["mongodb"]].target
        if not isinstance(mongod, Mongod):
            return "an existing deployment has TLS if its URI says so"
        if Version(versions["pymongo"]) < _TLS_OPTIONS:
            return f"PyMongo {versions['pymongo']} is older than {_TLS_OPTIONS}: no tls in its URIs"
        if Version(mongod.version) < _TLS_MODE:
            return f"MongoDB {mongod.version} is older than {_TLS_MODE} and has no --tlsMode"
        return ""

    def _why_no_options(self, values: Mapping[str, str]) -> str:
        options = parse_options(values["uri_options"])
        if options and values["topology"] == Topology.NONE:
            return "without a deployment there is no URI to add options to"
        members = MEMBERS.get(Topology(values["topology"]))
        if members is None or values["mongodb"] in self._existing:
            return ""
        return why_not_acknowledged(options, members)

    def why_no_faults(self, values: Mapping[str, str]) -> str:
        """Return why a combination can't have the phase ``failover``."""
        if values["topology"] == Topology.NONE:
            return "the phase failover needs a deployment"
        if values["mongodb"] in self._existing:
            return "the phase failover never harms an existing deployment"
        return ""

    def value(self, axis: str, values: Mapping[str, str]) -> AxisValue:
        """Return the value of an axis: of ``mongodb``, the name of the server."""
        if axis in _USUAL:
            usual = values[axis] == _USUAL[axis]
            return AxisValue(axis=axis, value=values[axis], label="" if usual else values[axis])
        if axis == "extras":
            names = parse_extras(values[axis])
            return AxisValue(axis=axis, value=in_words(names), label=label_of_extras(names))
        if axis == "uri_options":
            options = parse_options(values[axis])
            return AxisValue(
                axis=axis, value=in_uri(options) or NO_OPTIONS, label=label_of(options)
            )
        if axis != "mongodb":
            return super().value(axis, values)
        deployed = values["topology"] != Topology.NONE
        name = self._servers[values[axis]].name if deployed else ""
        return AxisValue(axis=axis, value=name, label=name)

    def of(self, cell: Cell) -> Mongod | str | None:
        """Return the mongod to start, or the URI of an existing deployment."""
        server = self._server_of(cell)
        return server.target if server else None

    def rerun(self, axis: str, cell: Cell) -> str:
        """Return the value of an option, without a URI, which may contain a password."""
        if axis != "mongodb":
            return super().rerun(axis, cell)
        server = self._server_of(cell)
        if server is None or not server.name:
            return ""
        if isinstance(server.target, Mongod):
            return str(server.target.path)
        return server.asked if is_reference(server.asked) else "URI"

    def _server_of(self, cell: Cell) -> Server | None:
        if cell.value("topology") == Topology.NONE:
            return None
        name = cell.value("mongodb")
        return next(server for server in self._servers.values() if server.name == name)


def _why_no_workload(values: Mapping[str, str], versions: Mapping[str, str], control: str) -> str:
    workload, needed = values["workload"], workload_of_control(control)
    if needed not in ("", workload):
        return f"the control {control} needs the workload {needed}"
    return why_unsupported(
        workload,
        versions["pymongo"],
        versions["python"],
        deployed=values["topology"] != Topology.NONE,
        standalone=values["topology"] == Topology.STANDALONE,
    )


def why_incompatible(pymongo: str, mongodb: str) -> str:
    """Return why this PyMongo can't be tested against this MongoDB; empty if it can.

    An empty ``mongodb`` is an unknown version.
    """
    advice = "test only encoding and decoding, with '--topology none'"
    if Version(pymongo) < _SCRAM:
        return f"PyMongo {pymongo} is older than {_SCRAM} and has no SCRAM-SHA-1: {advice}"
    if mongodb and Version(pymongo) < _OP_MSG and Version(mongodb) >= _WITHOUT_OP_QUERY:
        return (
            f"PyMongo {pymongo} is older than {_OP_MSG} and can't connect to MongoDB {mongodb}: "
            f"{advice}"
        )
    return ""


def starts_mongod(asked: Asked) -> bool:
    """Whether wsgiproof starts deployments itself."""
    names = asked.names.get(SERVERS, {})
    owned = any(not is_uri(names.get(value, value)) for value in asked.values["mongodb"])
    return owned and set(asked.values["topology"]) != {Topology.NONE}


def find_mongodbs(asked: Asked, account: Account | None) -> MongoDBs:
    """Return the server of each value of the axis ``mongodb``."""
    _check_options(asked.values["uri_options"])
    for extras in asked.values["extras"]:
        parse_extras(extras)
    if set(asked.values["topology"]) == {Topology.NONE}:
        return MongoDBs({})
    if Transport.TLS in asked.values["transport"]:
        check_trustme()
    names = asked.names.get(SERVERS, {})
    found = {value: _find_server(value, names, account) for value in asked.values["mongodb"]}
    all_names = [server.name for server in found.values()]
    for name in all_names:
        if all_names.count(name) > 1:
            raise UsageError(
                f"two values of --mongodb have the name '{name}': name them in {SERVERS}"
            )
    return MongoDBs(found)


def _check_options(sets: Collection[str]) -> None:
    """Raise :class:`UsageError` for a set that is none, or for two that have one label."""
    labels: dict[str, dict[str, str]] = {}
    for text in sets:
        options = parse_options(text)
        if labels.setdefault(label_of(options), options) != options:
            raise UsageError(
                f"--uri-options {text}: it looks like another set in the ids of cells: run them "
                "one after the other"
            )


def _find_server(value: str, names: Mapping[str, str], account: Account | None) -> Server:
    asked = names.get(value, value)
    if is_uri(asked):
        uri = resolve(asked)
        if account is not None:
            _check_files(uri, account)
        return Server(name=value if asked != value else URI, asked=asked, target=uri)
    if value and value not in names and "/" not in value:
        raise UsageError(
            f"--mongodb {value} is neither a path, nor a mongodb:// URI, nor a name in {SERVERS}"
        )
    mongod = find_mongod(asked or None)
    name = value if asked != value else f"mongod{mongod.version}" if value else ""
    return Server(name=name, asked=asked, target=mongod)


def found_here(planned: Mongod | str | None, account: Account) -> Mongod | str | None:
    """Return what another machine has planned with, as it is on this one: the mongod at the same
    path or else the usual one, if it has the same version; an existing deployment as it is.

    Raises :class:`PrerequisiteMissing` if there is none.
    """
    if planned is None:
        return None
    if isinstance(planned, str):
        _check_files(planned, account)
        return planned
    at = str(planned.path)
    mongod = find_mongod(at if planned.path.is_file() else None)
    if mongod.version != planned.version:
        raise PrerequisiteMissing(
            f"its mongod is {mongod.version}, and the run is planned with {planned.version}"
        )
    return mongod


def _check_files(uri: str, account: Account) -> None:
    """Check that the subject can read the files of its URI, from another directory and as another
    user."""
    for option, path in files(uri).items():
        if not path.is_absolute():
            raise UsageError(
                f"{option}={path} of --mongodb is not an absolute path: give one, since Apache's "
                "processes work in another directory"
            )
        if not path.is_file():
            raise UsageError(f"{option}={path} of --mongodb: there is no such file")
        blocked = account.cannot_reach(path)
        if blocked:
            raise PrerequisiteMissing(
                f"Apache's user '{account.name}' can't read {path} ({option} of --mongodb), "
                f"because of {blocked}: let it enter or read that, or put a copy elsewhere"
            )


def _described(server: Server) -> str:
    if isinstance(server.target, Mongod):
        return f"MongoDB {server.target.version}, {server.target.path}"
    return f"an existing deployment ({server.name})"
