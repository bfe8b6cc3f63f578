"""A running MongoDB deployment: one that wsgiproof starts, or an existing one."""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from pymongo import MongoClient, ReadPreference
from pymongo.database import Database
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

from wsgiproof.errors import ServiceFailed, UsageError, describe
from wsgiproof.process.account import Account, database_account
from wsgiproof.records.cell import Cell
from wsgiproof.records.observed import CONNECTIONS, on_member
from wsgiproof.server.ports import LOOPBACK, free_port
from wsgiproof.subjects.backend import Backend, Fault, Watch
from wsgiproof.subjects.pymongo import COLLECTIONS
from wsgiproof.subjects.pymongo.axes import (
    MEMBERS,
    Topology,
    closed_app_name,
    has_app_name,
    uri_options_of,
)
from wsgiproof.subjects.pymongo.faults import PrimaryWatch, faults, make_primary
from wsgiproof.subjects.pymongo.mongod import OBSERVER, Home, Member, make_home
from wsgiproof.subjects.pymongo.mongod_binary import Mongod
from wsgiproof.subjects.pymongo.resources import CLOSED, CURSORS, OBJECTS, SESSIONS
from wsgiproof.subjects.pymongo.uri import (
    host_and_port,
    hosts_of,
    safe,
    with_hosts,
    with_options,
    with_user,
)

_REPLICA_SET = "wsgiproof"
_MONGOS = "isdbgrid"
"""The ``msg`` by which a mongos is recognised (MongoDB manual, "hello")."""
_ELECTION_DEADLINE = 30.0
_SETTINGS = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
"""Of a replica set. A primary is elected within a second; the default is ten."""
_PAUSE = 0.02
"""Seconds between two looks whether something has come to pass."""
_JOINING = 1
"""Milliseconds between the heartbeats of members while they join, and for which a write then waits
for them."""
_DROP_DEADLINE = 2.0
"""Seconds that a deployment may take to answer when the subject's database is dropped."""
_MECHANISMS = ("SCRAM-SHA-1", "SCRAM-SHA-256")
"""PyMongo before 3.7 knows only the first."""
_PASSWORD = 32
"""Random bytes in a password."""
_TRIAL = "wsgiproof_trial"
"""The collection for a trial write before the subject writes its own."""

_IDLE_TOO = {"allUsers": True, "idleConnections": True, "idleCursors": True}
_CONNECTIONS_AND_CURSORS: list[dict[str, Any]] = [
    {"$currentOp": _IDLE_TOO},
    {"$match": {"$or": [{"client": {"$exists": True}}, {"type": "idleCursor"}]}},
    {"$project": {"type": 1, "ns": 1, "client": 1, "appName": 1}},
]
"""Every connection and every idle cursor of a member (MongoDB 4.2 and newer know idleCursors)."""
_OF_MONGOS = [{"$currentOp": {**_IDLE_TOO, "localOps": True}}, *_CONNECTIONS_AND_CURSORS[1:]]
"""The same of a mongos, which without ``localOps`` asks the shards: their clients are the mongos
processes (MongoDB manual, "$currentOp")."""
_OF_GRIDFS = (".files", ".chunks")
"""How the names of GridFS's collections end."""
_SERVERS_OWN = frozenset({"admin", "config", "local"})
"""The databases of the server itself."""
_CACHED_SESSIONS: list[dict[str, Any]] = [{"$listLocalSessions": {"allUsers": True}}]
_STORED_SESSIONS: list[dict[str, Any]] = [{"$listSessions": {"allUsers": True}}]
"""The logical sessions of all users that a member has used since its cache was refreshed, and those
that were stored by then."""


class Deployment(Backend):
    """A running deployment: how the subject reaches it, and how its connections are counted.

    Counting uses wsgiproof's own connections to each member, never the subject's.
    """

    def __init__(
        self,
        topology: Topology,
        uri: str,
        version: str,
        *,
        owned: bool,
        members: Sequence[Member] = (),
        home: Home | None = None,
        observer_uri: str = "",
    ) -> None:
        self.topology = topology
        self.owned = owned
        self.members = tuple(members)
        """The processes that wsgiproof started, which faults may be injected into; empty for an
        existing deployment."""
        self.healthy = True
        self.version = version
        self.title = f"MongoDB {version}, {topology}"
        self._uri = uri
        self._home = home
        self._passwords: dict[str, str] = {}
        """The passwords of users that wsgiproof created, by their names."""
        self._before: list[object] = []
        """What identified the process of each member of an existing deployment at
        :meth:`prepare`."""
        # Each connection through a load balancer may end at another mongos.
        direct = [] if topology is Topology.LOAD_BALANCED else hosts_of(uri)
        self._direct = [_direct(observer_uri or uri, host) for host in direct]
        self._ports = [port for _, port in map(host_and_port, direct)]

    def uri(self, app_name: str) -> str:
        """Return the URI for the subject.

        It names the whole deployment, and an appName that marks the subject's connections. On
        wsgiproof's own deployment, the URI has the user that :meth:`prepare` has created.
        """
        uri = with_options(self._uri, appName=app_name)
        if app_name not in self._passwords:
            return uri
        return with_user(uri, app_name, self._passwords[app_name], authSource="admin")

    def connection(self, cell: Cell, name: str) -> dict[str, str]:
        """Return the URI and the database of the subject, whose name is its appName, too.

        Its URI has the options of the cell, and no appName if its PyMongo knows none. With TLS on
        wsgiproof's own deployment, there are the files with the certificate of its authority, and
        of one that signed nothing.
        """
        uri = self.uri(name)
        if not has_app_name(cell):
            uri = with_options(uri, appName=None)
        uri = with_options(uri, **uri_options_of(cell))
        connection = {"uri": uri, "database": name}
        if self._home is None or (certificates := self._home.certificates) is None:
            return connection
        return {
            **connection,
            "authority": str(certificates.for_subject),
            "stranger": str(certificates.stranger),
        }

    def shown(self, name: str) -> dict[str, str]:
        """Return the URI and the database to show to a person.

        On wsgiproof's own deployment it is the subject's URI; its password is worthless once the
        deployment is gone. For an existing deployment it has only the members, since the rest may
        hold credentials.
        """
        uri = self.uri(name) if self.owned else f"mongodb://{safe(self._uri)}/"
        return {"mongodb": uri, "database": name}

    def admin_client(self, timeout: float = _ELECTION_DEADLINE) -> MongoClient[dict[str, Any]]:
        """Return a client of the whole deployment with all rights that wsgiproof has. ``timeout``
        is in seconds."""
        uri = self.uri(OBSERVER) if self._home is None else self._home.admin_uri(self._uri)
        return MongoClient(uri, serverSelectionTimeoutMS=int(timeout * 1000))

    @property
    def ports(self) -> frozenset[int]:
        """The ports that its members listen on."""
        return frozenset(port for _, port in map(host_and_port, hosts_of(self._uri)))

    def counts(
        self, app_name: str, sockets: Collection[tuple[int, int]]
    ) -> Mapping[str, int | None]:
        """Return what the subject has on all members together, as the members count it, by name.

        A count is None if a member refuses the query, or if none answers, and behind a load
        balancer, through which no member can be asked. Of a sharded cluster the members are the
        mongos processes, with which clients have their connections and cursors. Sessions can't be
        attributed to a client, so they are counted only on wsgiproof's own deployment.
        """
        counts = {**self._open(app_name, sockets), **self._objects(app_name)}
        return {**counts, SESSIONS: self._sessions()} if self.members else counts

    def _open(self, app_name: str, sockets: Collection[tuple[int, int]]) -> dict[str, int | None]:
        """Return the subject's connections, those on each member, those of closed clients, and its
        cursors.

        The subject's connections are those with its appName, and those without an appName whose
        socket one of its processes was seen to own, such as a leaked one. ``sockets`` are pairs of
        local and remote port: members also have connections to each other, from ports with the same
        numbers. The subject's cursors are those on its database, whose name is ``app_name``.
        ``$currentOp`` for all users needs the ``inprog`` privilege.
        """
        connections: set[tuple[int, str]] = set()
        members = range(1, len(self._direct) + 1)
        unknown = dict.fromkeys((CONNECTIONS, *map(on_member, members), CLOSED, CURSORS))
        if not self._direct:
            return unknown
        query = _OF_MONGOS if self.topology is Topology.SHARDED else _CONNECTIONS_AND_CURSORS
        closed: set[tuple[int, str]] = set()
        cursors = 0
        for number, member, port in zip(members, self._direct, self._ports, strict=True):
            try:
                for row in member.admin.aggregate(query):
                    if row.get("type") == "idleCursor":
                        cursors += row.get("ns", "").startswith(f"{app_name}.")
                    elif row.get("appName") == closed_app_name(app_name):
                        closed.add((number, row["client"]))
                    elif _is_of(row, app_name, port, sockets):
                        connections.add((number, row["client"]))
            except PyMongoError:
                return unknown
        of_members = Counter(number for number, _ in connections)
        return {
            CONNECTIONS: len(connections),
            **{on_member(number): of_members[number] for number in members},
            CLOSED: len(closed),
            CURSORS: cursors,
        }

    def _objects(self, app_name: str) -> dict[str, int | None]:
        """Return the number of collections, views and indexes that the subject may have made.

        On wsgiproof's own deployment they are those of all databases but the server's own, and
        otherwise those of the subject's database, whose name is ``app_name``. The highest number of
        any member counts. The collections of the built-in workload are left out, with their
        indexes.
        """
        found: dict[str, int | None] = dict.fromkeys(OBJECTS)
        for member in self._direct:
            try:
                names = self._databases(member, app_name)
                rows = [member.get_database(name).command("dbStats") for name in names]
                ours = _of_workload(member.get_database(app_name))
            except PyMongoError:
                continue
            for kind in OBJECTS:
                all_of_them = sum(int(row.get(kind, 0)) for row in rows)
                found[kind] = max(found[kind] or 0, all_of_them - ours.get(kind, 0))
        return found

    def _databases(self, member: MongoClient[dict[str, Any]], app_name: str) -> list[str]:
        if not self.owned:
            return [app_name]
        answer = member.admin.command("listDatabases", nameOnly=True)
        return [row["name"] for row in answer["databases"] if row["name"] not in _SERVERS_OWN]

    def pids(self) -> tuple[int, ...]:
        """Return the living processes of the members that wsgiproof started."""
        return tuple(pid for member in self.members for pid in member.pids)

    def _sessions(self) -> int | None:
        """Return how many logical sessions there are that no client has ended.

        None if they are unknown: which sessions clients have ended can be seen only on MongoDB
        4.4.2 and newer.
        """
        known: set[UUID] = set()
        ended: set[UUID] = set()
        for client in self._direct:
            try:
                cached = client.admin.aggregate(_CACHED_SESSIONS)
                stored = client.config["system.sessions"].aggregate(_STORED_SESSIONS)
                known.update(_session_id(row) for row in (*cached, *stored))
            except PyMongoError:
                return None
        for member in self.members:  # after that, so that none is counted that ends meanwhile
            try:
                over = member.ended_sessions()
            except OSError:
                return None
            if over is None:
                return None
            ended |= over
        return len(known - ended)

    def faults(self, seconds: float) -> tuple[Fault, ...]:
        """Return the faults that may be injected; lasting ones last ``seconds``.

        There are none for a deployment that wsgiproof did not start.
        """
        return faults(self.members, seconds)

    def watch(self) -> AbstractContextManager[Watch]:
        """Return a watch on whether there is a primary."""
        return PrimaryWatch(self.members)

    def rotate(self) -> Iterator[None]:
        """Make each member primary in turn, and yield after each.

        Raises :class:`ServiceFailed` if a member does not become primary.
        """
        for member in self.members:
            make_primary(member)
            yield

    def restore(self) -> None:
        """Restore the deployment: all members up, one primary, the others secondaries.

        Raises :class:`ServiceFailed` if that fails; the deployment can't be used any more then.
        """
        for member in self.members:
            if trouble := member.trouble():
                raise ServiceFailed(trouble)
            if member.paused:
                member.resume()
            if not member.alive():
                member.start_again()
        _wait(self._is_healthy, "the deployment did not become healthy again")
        self.healthy = True

    def _is_healthy(self) -> bool:
        try:
            hellos = [member.admin.command("hello") for member in self._direct]
        except PyMongoError:
            return False
        primaries = sum(hello.get("isWritablePrimary", False) for hello in hellos)
        others = sum(hello.get("secondary", False) for hello in hellos)
        return bool(primaries == 1 and primaries + others == len(hellos))

    def prepare(self, name: str, *, for_app: bool = False) -> None:
        """Prepare the deployment for a subject whose appName and database are ``name``.

        On wsgiproof's own deployment, the subject gets a user that may read and write there, and
        a user's application in all databases except the server's own. An existing deployment has
        to accept a trial write; otherwise each request would fail, which says nothing about the
        subject. Raises :class:`ServiceFailed` if one of these fails.
        """
        if self._home is not None:
            kinds = ("readWriteAnyDatabase", "dbAdminAnyDatabase")
            own = [{"role": role, "db": name} for role in ("readWrite", "dbAdmin")]
            roles = kinds if for_app else own
            self._passwords[name] = _make_user(
                self._home.admin_uri(self._uri), len(self.members), name, roles
            )
            return
        self._before = [_process_of(member) for member in self._direct]
        client: MongoClient[dict[str, Any]] = MongoClient(self.uri(OBSERVER))
        with client:
            try:
                client[name][_TRIAL].insert_one({})
            except PyMongoError as error:
                raise ServiceFailed(
                    f"the deployment at {safe(self._uri)} refuses a write to a new database: "
                    f"{_error_text(error)}; give its user the role readWriteAnyDatabase"
                ) from error

    def trouble(self) -> str:
        """Return in one line what others did to the deployment; empty if nothing.

        That is: a member has ended, was paused, or was restarted. An injected fault does not count.
        On an existing deployment, only changes since :meth:`prepare` can be seen.
        """
        for member in self.members:
            if trouble := member.trouble():
                return f"{trouble}, which wsgiproof did not do"
        for host, client, before in zip(
            hosts_of(self._uri), self._direct, self._before, strict=False
        ):
            now = _process_of(client) if before is not None else None
            if now != before:
                how = "has been restarted" if now else "no longer answers"
                return f"the MongoDB at {host} (--mongodb URI) {how}"
        return ""

    def drop(self, database: str) -> None:
        """Drop the subject's database and its user, unless the deployment is gone."""
        self._passwords.pop(database, None)
        with self.admin_client(_DROP_DEADLINE) as client, suppress(PyMongoError):
            try:
                client.drop_database(database)
            except OperationFailure:
                # The role readWrite may drop each collection, but not the database.
                left = client.get_database(database, read_preference=ReadPreference.PRIMARY)
                for name in left.list_collection_names():
                    left.drop_collection(name)
            if self._home is not None:
                client.admin.command("dropUser", database)

    def close(self) -> None:
        """Close wsgiproof's own connections."""
        for member in self._direct:
            member.close()


def _session_id(row: Mapping[str, Any]) -> UUID:
    return UUID(bytes=bytes(row["_id"]["id"]))


def _is_of(
    row: Mapping[str, Any], app_name: str, port: int, sockets: Collection[tuple[int, int]]
) -> bool:
    """Whether a connection of the member on ``port`` belongs to the subject."""
    if "appName" in row:
        return bool(row["appName"] == app_name)
    local = str(row.get("client", "")).rpartition(":")[2]
    return local.isdigit() and (int(local), port) in sockets


def _start(members: Sequence[Member], replica_set: str | None) -> None:
    """Start all members at the same time; if that is interrupted, stop all of them."""
    with ThreadPoolExecutor(len(members)) as pool:
        started = [pool.submit(member.start, replica_set) for member in members]
        try:
            for one in started:
                one.result()
        except BaseException:
            for member in members:
                member.stop()
            raise


@contextmanager
def start_deployment(
    topology: Topology,
    mongod: Mongod,
    scratch: Path,
    logs: Path,
    choose_port: Callable[[], int] = free_port,
    *,
    account: Account | None = None,
    scripting: bool = False,
    shared: Path | None = None,
) -> Iterator[Deployment]:
    """Start a deployment on loopback, and end it with the context.

    It runs as ``account``, by default :func:`database_account`, and requires credentials that are
    created here. ``scratch`` holds the data: an empty directory that belongs to this user, and that
    the account can reach. The guards remove it if wsgiproof dies. With ``scripting`` the deployment
    runs JavaScript. With ``shared``, an empty directory of Apache's user, it requires TLS. Raises
    :class:`ServiceFailed` with mongod's own reason, and :class:`PrerequisiteMissing` if the account
    can't reach ``scratch``.
    """
    count = MEMBERS.get(topology, 1)
    replica_set = _REPLICA_SET if topology is Topology.REPLICA_SET else None
    home = make_home(scratch, account or database_account(), shared)
    with ExitStack() as stack:
        members = [
            Member(
                mongod,
                f"mongod-{topology}-{number}",
                home,
                logs,
                choose_port,
                scripting=scripting,
            )
            for number in range(1, count + 1)
        ]
        for member in members:
            stack.callback(member.stop)
        _start(members, replica_set)
        hosts = [f"{LOOPBACK}:{member.port}" for member in members]
        uri = f"mongodb://{','.join(hosts)}/"
        if replica_set:
            _initiate(members, hosts)
            uri = with_options(uri, replicaSet=_REPLICA_SET)
        if home.certificates is not None:
            authority = str(home.certificates.for_subject)
            uri = with_options(uri, tls="true", tlsCAFile=authority)
        password = _make_user(
            home.admin_uri(uri), count, OBSERVER, ["clusterMonitor", "readAnyDatabase"]
        )
        deployment = Deployment(
            topology,
            uri,
            mongod.version,
            owned=True,
            members=members,
            home=home,
            observer_uri=with_user(home.trusted_uri(uri), OBSERVER, password, authSource="admin"),
        )
        stack.callback(deployment.close)
        yield deployment


def connect_deployment(uri: str) -> Deployment:
    """Connect to the existing deployment at ``uri``.

    Of a replica set all members are used, whichever the URI names; of a sharded cluster the mongos
    processes that it names, which are the only ones that a client uses. Raises :class:`UsageError`
    for what is not a MongoDB URI, and :class:`ServiceFailed` if nothing answers there.
    """
    if uri.startswith("mongodb+srv:"):
        raise UsageError(
            "--mongodb is a mongodb+srv URI, which does not name its members: "
            "give the mongodb:// form of it"
        )
    if not uri.startswith("mongodb://"):
        raise UsageError("--mongodb is not a MongoDB URI: begin it with mongodb://")
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            uri, serverSelectionTimeoutMS=5000, appName=OBSERVER
        )
    except (InvalidURI, ConfigurationError, ValueError) as error:
        # Neither the URI nor the driver's message is shown: either may hold the password.
        raise UsageError(
            f"--mongodb is not a MongoDB URI that PyMongo accepts ({type(error).__name__}); "
            "are the user name and the password percent-encoded?"
        ) from error
    except OSError as error:  # a file that the URI names
        raise UsageError(f"--mongodb names a file that can't be used: {describe(error)}") from error
    with client:
        try:
            hello = client.admin.command("hello")
            balanced = client.topology_description.topology_type_name == "LoadBalanced"
            version = str(client.server_info()["version"])
        except OperationFailure as error:
            raise ServiceFailed(
                f"the deployment at {safe(uri)} refuses access: {_error_text(error)}"
            ) from error
        except PyMongoError as error:
            raise ServiceFailed(
                f"no deployment answers at {safe(uri)} within 5 seconds: {_error_text(error)}"
            ) from error
    if balanced or "serviceId" in hello:
        return Deployment(Topology.LOAD_BALANCED, uri, version, owned=False)
    if hello.get("msg") == _MONGOS:
        return Deployment(Topology.SHARDED, uri, version, owned=False)
    if "setName" not in hello:
        return Deployment(Topology.STANDALONE, uri, version, owned=False)
    full_uri = with_hosts(uri, hello["hosts"], replicaSet=hello["setName"], directConnection=None)
    return Deployment(Topology.REPLICA_SET, full_uri, version, owned=False)


def _initiate(joining: Sequence[Member], hosts: list[str]) -> None:
    """Make a replica set of new members, and wait until it has a primary, and all members its data.

    The first member is alone at first, since it is elected at once then. The others copy its data,
    and look for a member that is ahead of them, once each second. Only heartbeats tell them that,
    so until they have found one, heartbeats are frequent and the first member writes all the time.

    Raises :class:`ServiceFailed` if that fails, as it does if one of them has ended.
    """
    # On a busy machine, too, the first member has to stay primary until the others have its data.
    stays = int(_ELECTION_DEADLINE * 1000)
    settings = {"electionTimeoutMillis": stays, "heartbeatIntervalMillis": _JOINING}
    members = [{"_id": number, "host": host} for number, host in enumerate(hosts)]
    config = {"_id": _REPLICA_SET, "members": members[:1], "settings": settings}
    with joining[0].client() as client:
        try:
            client.admin.command("replSetInitiate", config)
            _wait(
                lambda: client.admin.command("hello").get("isWritablePrimary", False),
                "the replica set elected no primary",
            )
            # MongoDB 4.4 and newer add several members only by force.
            _reconfigure(client, force=True, members=members)
            _wait(
                lambda: _is_everywhere(client, joining),
                "not all members of the replica set have its data",
                pause=0.0,
            )
            # Waits until a majority has it, so that nothing is changing when the subject starts.
            _reconfigure(client, force=False, settings=_SETTINGS)
        except PyMongoError as error:
            raise ServiceFailed(
                f"the replica set could not be initiated: {_error_text(error)}"
            ) from error


def _is_everywhere(client: MongoClient[dict[str, Any]], joining: Sequence[Member]) -> bool:
    """Return whether a new write is on all members. Raises :class:`ServiceFailed` if one has
    ended."""
    for member in joining:
        if not member.alive():
            ended = member.trouble() or f"{member.name} has ended"
            raise ServiceFailed(f"the replica set could not be initiated: {ended}")
    everywhere = {"w": len(joining), "wtimeout": _JOINING}
    reply = client.admin.command("appendOplogNote", data={}, writeConcern=everywhere)
    return "writeConcernError" not in reply


def _reconfigure(client: MongoClient[dict[str, Any]], *, force: bool, **changes: object) -> None:
    """Change the configuration of a replica set through its primary."""
    config = client.admin.command("replSetGetConfig")["config"]
    config.update(changes, version=config["version"] + 1)
    client.admin.command("replSetReconfig", config, force=force)


def _make_user(admin_uri: str, members: int, name: str, roles: Sequence[object]) -> str:
    """Create a user through ``admin_uri``, and return its password.

    All ``members`` (their number) have written it to disk then, since each may be killed and has to
    know the user when it is back. Raises :class:`ServiceFailed` if that fails.
    """
    password = secrets.token_urlsafe(_PASSWORD)
    wait = int(_ELECTION_DEADLINE * 1000)
    client: MongoClient[dict[str, Any]] = MongoClient(admin_uri)
    with client:
        try:
            reply = client.admin.command(
                "createUser",
                name,
                pwd=password,
                roles=list(roles),
                mechanisms=_MECHANISMS,
                writeConcern={"w": members, "j": True, "wtimeout": wait},
            )
        except PyMongoError as error:
            raise ServiceFailed(
                f"no user could be created on the deployment: {_error_text(error)}"
            ) from error
    if "writeConcernError" in reply:  # which PyMongo does not raise for a command
        reason = reply["writeConcernError"].get("errmsg")
        raise ServiceFailed(f"not all members of the deployment have a new user: {reason}")
    return password


def _wait(condition: Callable[[], bool], otherwise: str, pause: float = _PAUSE) -> None:
    limit = time.monotonic() + _ELECTION_DEADLINE
    while not condition():
        if time.monotonic() > limit:
            raise ServiceFailed(f"{otherwise} within {_ELECTION_DEADLINE:.0f} seconds")
        time.sleep(pause)


def _direct(uri: str, host: str) -> MongoClient[dict[str, Any]]:
    direct = with_hosts(uri, [host], appName=OBSERVER, directConnection="true", replicaSet=None)
    return MongoClient(direct, serverSelectionTimeoutMS=5000)


def _error_text(error: PyMongoError) -> str:
    """Return PyMongo's message without its own timeouts and the state of each member."""
    text = str(error).partition(", full error: ")[0].partition(", Timeout: ")[0]
    return re.sub(r" \(configured timeouts: .*?\)", "", text)


def _process_of(member: MongoClient[dict[str, Any]]) -> object:
    """Return an identifier of the process that answers; it differs after a restart (MongoDB 4.4 and
    newer). None if nothing answers."""
    try:
        hello = member.admin.command("hello")
    except PyMongoError:
        return None
    return hello.get("topologyVersion", {}).get("processId", "it answers")


def _of_workload(database: Database[dict[str, Any]]) -> dict[str, int]:
    """Return how many collections the built-in workload has, and how many indexes these have.

    Each has one, and those of GridFS have another one (MongoDB's GridFS specification).
    """
    names = database.list_collection_names(
        filter={"name": {"$regex": f"^{re.escape(COLLECTIONS)}"}}
    )
    of_gridfs = sum(name.endswith(_OF_GRIDFS) for name in names)
    return {"collections": len(names), "indexes": len(names) + of_gridfs}
