"""A running MongoDB: ours, or one that was there already."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from pymongo import MongoClient, ReadPreference
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

from wsgiproof.account import Account, database_account
from wsgiproof.cell import Topology
from wsgiproof.errors import ServiceFailed, UsageError, describe
from wsgiproof.services.mongod import OBSERVER, Home, Member, Mongod, make_home
from wsgiproof.services.ports import LOOPBACK, free_port
from wsgiproof.uri import host_and_port, hosts_of, safe, with_hosts, with_options, with_user

_REPLICA_SET = "wsgiproof"
_MEMBERS = 3
_ELECTION_DEADLINE = 30.0
_DROP_DEADLINE = 2.0
"""Seconds that a deployment may take to answer when it is tidied."""
_MECHANISMS = ("SCRAM-SHA-1", "SCRAM-SHA-256")
"""PyMongo before 3.7 knows the first alone."""
_PASSWORD = 32
"""Bytes of chance in a password."""
_TRIAL = "wsgiproof_trial"
"""The collection that is written before the subject writes its own."""

_OPEN: list[dict[str, Any]] = [
    {"$currentOp": {"allUsers": True, "idleConnections": True, "idleCursors": True}},
    {"$match": {"$or": [{"client": {"$exists": True}}, {"type": "idleCursor"}]}},
    {"$project": {"type": 1, "ns": 1, "client": 1, "appName": 1}},
]
"""Every connection and every idle cursor of a member (MongoDB 4.2 and newer know idleCursors)."""
_SESSIONS_STATUS = {
    "serverStatus": 1,
    **dict.fromkeys(("metrics", "wiredTiger", "repl", "locks", "opLatencies", "tcmalloc"), 0),
}


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What the subject has open on the deployment; None where that can't be told."""

    connections: int | None = None
    by_member: tuple[int, ...] = ()
    """Of the connections, how many each member has."""
    cursors: int | None = None
    sessions: int | None = None


class Deployment:
    """A deployment that answers, how the subject reaches it, and how we count its connections.

    The counting goes through connections of our own to each member, never through the subject's.
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
        observing: str = "",
    ) -> None:
        self.topology = topology
        self.owned = owned
        """False for one that was there, and may have other users."""
        self.members = tuple(members)
        """The processes that we have started, and may do harm to; none of what was there."""
        self.healthy = True
        """False from when harm is done to a member until it is made good again."""
        self.version = version
        self._uri = uri
        self._home = home
        self._passwords: dict[str, str] = {}
        """Of the users that we have made, by their names."""
        self._before: list[object] = []
        self._direct = [_direct(observing or uri, host) for host in hosts_of(uri)]
        self._ports = [port for _, port in map(host_and_port, hosts_of(uri))]

    def uri(self, app_name: str) -> str:
        """For the subject: the whole deployment, with an appName that marks its connections.

        Of a deployment of ours with the user that :meth:`prepare` has made for it.
        """
        uri = with_options(self._uri, appName=app_name)
        if app_name not in self._passwords:
            return uri
        return with_user(uri, app_name, self._passwords[app_name], authSource="admin")

    def shown_uri(self, app_name: str) -> str:
        """The same for a person, who can then do what the subject can; its password is worth
        nothing once the deployment is gone. Of one that is not ours the members alone, since the
        rest may hold credentials."""
        return self.uri(app_name) if self.owned else f"mongodb://{safe(self._uri)}/"

    def owner(self, timeout: float = _ELECTION_DEADLINE) -> MongoClient[dict[str, Any]]:
        """A client of the whole deployment, that may do everything that we may."""
        uri = self.uri(OBSERVER) if self._home is None else self._home.owner(self._uri)
        return MongoClient(uri, serverSelectionTimeoutMS=int(timeout * 1000))

    @property
    def ports(self) -> frozenset[int]:
        """The ports that its members listen on."""
        return frozenset(port for _, port in map(host_and_port, hosts_of(self._uri)))

    def counts(self, app_name: str, sockets: Collection[tuple[int, int]]) -> Counts:
        """What the subject has open on all members together, as they count it themselves.

        The subject's connections are those with its appName, and those without any that one of its
        processes was seen to own, as a leaked socket is: ``sockets`` are the ports of both ends.
        Members have connections to each other, too, from ports of the same numbers. Its cursors are
        those on its database, which has the name of the app. A session can't be told apart from
        others', so they are counted on a deployment of our own only. Nothing is known if a member
        may not be asked (``$currentOp`` of all users needs the ``inprog`` privilege).
        """
        connections: set[tuple[int, str]] = set()
        cursors = sessions = 0
        for number, (member, port) in enumerate(zip(self._direct, self._ports, strict=True)):
            try:
                for row in member.admin.aggregate(_OPEN):
                    if row.get("type") == "idleCursor":
                        cursors += row.get("ns", "").startswith(f"{app_name}.")
                    elif _is_of(row, app_name, port, sockets):
                        connections.add((number, row["client"]))
                if self.owned:
                    status = member.admin.command(_SESSIONS_STATUS)
                    sessions += status["logicalSessionRecordCache"]["activeSessionsCount"]
            except PyMongoError:
                return Counts()
        return Counts(
            connections=len(connections),
            by_member=tuple(
                sum(number == member for member, _ in connections)
                for number in range(len(self._direct))
            ),
            cursors=cursors,
            sessions=sessions if self.owned else None,
        )

    def restore(self) -> None:
        """Make it whole again: every member up, one of them primary, the others in step with it.

        Raises :class:`ServiceFailed` if it can't be, and then it is of no more use.
        """
        for member in self.members:
            if trouble := member.trouble():
                raise ServiceFailed(trouble)
            if member.paused:
                member.resume()
            if not member.alive():
                member.start_again()
        _wait(self._is_healthy, "the deployment is not whole again")
        self.healthy = True

    def _is_healthy(self) -> bool:
        try:
            hellos = [member.admin.command("hello") for member in self._direct]
        except PyMongoError:
            return False
        primaries = sum(hello.get("isWritablePrimary", False) for hello in hellos)
        others = sum(hello.get("secondary", False) for hello in hellos)
        return bool(primaries == 1 and primaries + others == len(hellos))

    def prepare(self, database: str, *, every_database: bool = False) -> None:
        """Make ready for a subject that works in ``database``, and has this appName.

        On a deployment of ours it gets a user that may read and write there, and with
        ``every_database`` elsewhere too, but for the server's own. One that was there has to take a
        write: each request of the subject would fail, and that would tell nothing about it.
        Raises :class:`ServiceFailed` if that can't be.
        """
        if self._home is not None:
            kinds = ("readWriteAnyDatabase", "dbAdminAnyDatabase")
            own = [{"role": role, "db": database} for role in ("readWrite", "dbAdmin")]
            roles = kinds if every_database else own
            self._passwords[database] = _make_user(
                self._home.owner(self._uri), len(self.members), database, roles
            )
            return
        self._before = [_process_of(member) for member in self._direct]
        client: MongoClient[dict[str, Any]] = MongoClient(self.uri(OBSERVER))
        with client:
            try:
                client[database][_TRIAL].insert_one({})
            except PyMongoError as error:
                raise ServiceFailed(
                    f"the deployment at {safe(self._uri)} takes no writes to a database of ours: "
                    f"{_words(error)}; its user needs readWriteAnyDatabase"
                ) from error

    def trouble(self) -> str:
        """What has happened to it that is neither the subject's doing nor ours, in one line: a
        member has ended, was paused, or has been restarted. Empty if nothing.

        What harm we do to a member ourselves is none. Of a deployment that was there only what has
        changed since :meth:`prepare` can be told.
        """
        for member in self.members:
            if trouble := member.trouble():
                return f"{trouble}, which wsgiproof did not do"
        for host, client, before in zip(
            hosts_of(self._uri), self._direct, self._before, strict=False
        ):
            now = _process_of(client) if before is not None else None
            if now != before:
                how = "has been restarted" if now else "does not answer any more"
                return f"the MongoDB at {host} (--mongodb URI) {how}"
        return ""

    def drop(self, database: str) -> None:
        """Drop what the subject left behind, and its user, unless the deployment is gone."""
        self._passwords.pop(database, None)
        with self.owner(_DROP_DEADLINE) as client, suppress(PyMongoError):
            try:
                client.drop_database(database)
            except OperationFailure:
                # The role readWrite may drop each collection, and not the database.
                left = client.get_database(database, read_preference=ReadPreference.PRIMARY)
                for name in left.list_collection_names():
                    left.drop_collection(name)
            if self._home is not None:
                client.admin.command("dropUser", database)

    def close(self) -> None:
        """Close our own connections."""
        for member in self._direct:
            member.close()


class NoDeployment(Deployment):
    """None at all: nothing to reach, and nothing on it that anybody could count."""

    def __init__(self) -> None:
        self.topology = Topology.NONE
        self.version = ""
        self.owned = True
        self.members = ()
        self.healthy = True

    def uri(self, app_name: str) -> str:
        """Empty: there is nothing to connect to."""
        return ""

    def shown_uri(self, app_name: str) -> str:
        """Empty as well."""
        return ""

    @property
    def ports(self) -> frozenset[int]:
        """None."""
        return frozenset()

    def counts(self, app_name: str, sockets: Collection[tuple[int, int]]) -> Counts:
        """Nothing, which is not 0: nobody has counted."""
        return Counts()

    def prepare(self, database: str, *, every_database: bool = False) -> None:
        """Nothing will be written."""

    def trouble(self) -> str:
        """Nothing can happen to nothing."""
        return ""

    def drop(self, database: str) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """There is nothing of ours to close."""


def _is_of(
    row: Mapping[str, Any], app_name: str, port: int, sockets: Collection[tuple[int, int]]
) -> bool:
    """Whether a connection of the member on ``port`` is one of the subject's."""
    if "appName" in row:
        return bool(row["appName"] == app_name)
    local = str(row.get("client", "")).rpartition(":")[2]
    return local.isdigit() and (int(local), port) in sockets


def _start(members: Sequence[Member], replica_set: str | None) -> None:
    """Start all at the same time; where that is interrupted, none goes on starting."""
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
) -> Iterator[Deployment]:
    """Our own deployment on loopback, gone with the context.

    It runs as ``account``, which by default is :func:`database_account`, and serves nobody without
    credentials that are made here. ``scratch``, an empty directory of ours that the account can get
    to, has the data and is removed by the guards if we die. With ``scripting`` the deployment runs
    JavaScript. Raises :class:`ServiceFailed` with mongod's own reason, and :class:`NeedMissing` if
    the account can't get to ``scratch``.
    """
    count = _MEMBERS if topology is Topology.REPLICA_SET else 1
    replica_set = _REPLICA_SET if topology is Topology.REPLICA_SET else None
    home = make_home(scratch, account or database_account())
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
            _initiate(members[0], hosts)
            uri += f"?replicaSet={_REPLICA_SET}"
        password = _make_user(home.owner(uri), count, OBSERVER, ["clusterMonitor"])
        deployment = Deployment(
            topology,
            uri,
            mongod.version,
            owned=True,
            members=members,
            home=home,
            observing=with_user(uri, OBSERVER, password, authSource="admin"),
        )
        stack.callback(deployment.close)
        yield deployment


def connect_deployment(uri: str) -> Deployment:
    """The deployment at ``uri``, as a whole: all members of a replica set, whichever is named.

    Raises :class:`UsageError` for what is not a MongoDB URI and :class:`ServiceFailed` if nobody
    answers there.
    """
    if uri.startswith("mongodb+srv:"):
        raise UsageError("a mongodb+srv URI hides its members: give the mongodb:// form of it")
    if not uri.startswith("mongodb://"):
        raise UsageError("a MongoDB URI begins with mongodb://, and --mongodb does not")
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            uri, serverSelectionTimeoutMS=5000, appName=OBSERVER
        )
    except (InvalidURI, ConfigurationError, ValueError) as error:
        # Neither the URI nor the driver's words on it are shown: either may hold the password.
        raise UsageError(
            f"--mongodb is not a MongoDB URI that PyMongo takes ({type(error).__name__}); "
            "are the user name and the password percent-encoded?"
        ) from error
    except OSError as error:  # a file that the URI names
        raise UsageError(f"--mongodb names a file that is of no use: {describe(error)}") from error
    with client:
        try:
            hello = client.admin.command("hello")
            version = str(client.server_info()["version"])
        except OperationFailure as error:
            raise ServiceFailed(
                f"the deployment at {safe(uri)} refuses us: {_words(error)}"
            ) from error
        except PyMongoError as error:
            raise ServiceFailed(
                f"no deployment answers at {safe(uri)} within 5 seconds: {_words(error)}"
            ) from error
    if "setName" not in hello:
        return Deployment(Topology.STANDALONE, uri, version, owned=False)
    whole = with_hosts(uri, hello["hosts"], replicaSet=hello["setName"], directConnection=None)
    return Deployment(Topology.REPLICA_SET, whole, version, owned=False)


def _initiate(first: Member, hosts: list[str]) -> None:
    """Make a replica set of fresh members, and wait until it has a primary."""
    config = {
        "_id": _REPLICA_SET,
        "members": [{"_id": number, "host": host} for number, host in enumerate(hosts)],
        # Short, so that a primary is there in a second; the default is ten.
        "settings": {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200},
    }
    with first.client() as client:
        client.admin.command("replSetInitiate", config)
        _wait(
            lambda: client.admin.command("hello").get("isWritablePrimary", False),
            "the replica set elected no primary",
        )


def _make_user(owner: str, members: int, name: str, roles: Sequence[object]) -> str:
    """Make a user through the ``owner``'s URI, and return its password.

    Every one of so many ``members`` has it on its disk then: it may be killed, and has to know the
    user when it is back. Raises :class:`ServiceFailed` if that can't be.
    """
    password = secrets.token_urlsafe(_PASSWORD)
    wait = int(_ELECTION_DEADLINE * 1000)
    client: MongoClient[dict[str, Any]] = MongoClient(owner)
    with client:
        try:
            client.admin.command(
                "createUser",
                name,
                pwd=password,
                roles=list(roles),
                mechanisms=_MECHANISMS,
                writeConcern={"w": members, "j": True, "wtimeout": wait},
            )
        except PyMongoError as error:
            raise ServiceFailed(
                f"no user could be made on our own deployment: {_words(error)}"
            ) from error
    return password


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    limit = time.monotonic() + _ELECTION_DEADLINE
    while not condition():
        if time.monotonic() > limit:
            raise ServiceFailed(f"{otherwise} within {_ELECTION_DEADLINE:.0f} seconds")
        time.sleep(0.02)


def _direct(uri: str, host: str) -> MongoClient[dict[str, Any]]:
    one = with_hosts(uri, [host], appName=OBSERVER, directConnection="true", replicaSet=None)
    return MongoClient(one, serverSelectionTimeoutMS=5000)


def _words(error: PyMongoError) -> str:
    """What PyMongo says, without what it adds about itself and the state of each member."""
    told = str(error).partition(", full error: ")[0].partition(", Timeout: ")[0]
    return re.sub(r" \(configured timeouts: .*?\)", "", told)


def _process_of(member: MongoClient[dict[str, Any]]) -> object:
    """What stands for the process that answers: another one after a restart, since MongoDB 4.4.
    None if nobody answers."""
    try:
        hello = member.admin.command("hello")
    except PyMongoError:
        return None
    return hello.get("topologyVersion", {}).get("processId", "it answers")
