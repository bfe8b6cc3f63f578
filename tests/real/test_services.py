"""Services that others do something to: another local user gets nowhere, and harm that is neither
the subject's nor a planned failover's ends a cell in error."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from tests.cells import configured
from tests.real.command import CLEAN, soon
from tests.real.conftest import KNOWN_GOOD, PYMONGO
from tests.real.test_cells import why
from tests.real.test_uri import mongod as mongod_of_a_user
from wsgiproof.errors import ServiceFailed
from wsgiproof.process.account import server_account
from wsgiproof.records.cell import Cell, Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.plan import PhaseName
from wsgiproof.records.run import CellRecord
from wsgiproof.run.cell import Job, NullWatcher, RunContext, RunningBackends, run_cell
from wsgiproof.run.planning import make_context, plan, preflight
from wsgiproof.server.ports import LOOPBACK
from wsgiproof.server.scratch import scratch_directory
from wsgiproof.subjects.pymongo import deployment as deployments
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import (
    Deployment,
    _make_user,
    connect_deployment,
    start_deployment,
)
from wsgiproof.subjects.pymongo.mongod import Member
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod

NOBODY = 65534
DATABASE = "wsgiproof_guarded"
UNAUTHORIZED = 13
Client = MongoClient[dict[str, Any]]


# Another local user


class Guarded(msgspec.Struct):
    """A deployment of ours with a document in it."""

    deployment: Deployment
    scratch: Path
    logs: Path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    logs = tmp_path_factory.mktemp("logs")
    with (
        scratch_directory() as scratch,
        start_deployment(Topology.REPLICA_SET, find_mongod(None), scratch, logs) as deployment,
    ):
        deployment.prepare(DATABASE)
        with Client(deployment.uri(DATABASE)) as subject:
            subject[DATABASE]["documents"].insert_one({"secret": 42})
        yield Guarded(deployment=deployment, scratch=scratch, logs=logs)


def process(member: Member) -> psutil.Process:
    assert member._service is not None
    return psutil.Process(member._service.pid)


def secrets(deployment: Deployment) -> list[str]:
    """All that must be nowhere but in our memory, the key file and the subject's settings."""
    assert deployment._home is not None
    return [deployment._home.key, *deployment._passwords.values()]


def test_all_members_end_with_the_same_configuration(guarded: Guarded) -> None:
    """While they join, heartbeats are frequent; after that they would take processor time."""

    def seen_by(member: Member) -> tuple[int, int, int]:
        with member.client() as client:
            config = client.admin.command("replSetGetConfig")["config"]
        of_set = config["settings"]
        return (
            of_set["electionTimeoutMillis"],
            of_set["heartbeatIntervalMillis"],
            len(config["members"]),
        )

    members = guarded.deployment.members
    assert soon(lambda: {*map(seen_by, members)} == {(1000, 200, 3)}), [*map(seen_by, members)]


DEEDS: Mapping[str, Callable[[Client], object]] = {
    "read": lambda client: client[DATABASE]["documents"].find_one(),
    "write": lambda client: client[DATABASE]["documents"].insert_one({}),
    "drop": lambda client: client.admin.command("dropUser", DATABASE),
    "list": lambda client: client[DATABASE].list_collection_names(),
    "make the first user": lambda client: client.admin.command(
        "createUser", "first", pwd="mine", roles=["root"]
    ),
    "run JavaScript": lambda client: client[DATABASE]["documents"].find_one(
        {"$where": "while (true) {}"}
    ),
    "look": lambda client: client.admin.command("currentOp"),
    "set": lambda client: client.admin.command("setParameter", 1, logLevel=5),
    "reconfigure": lambda client: client.admin.command("replSetGetConfig"),
    "shut down": lambda client: client.admin.command("shutdown", force=True),
}


def done_by(client: Client, deeds: Mapping[str, Callable[[Client], object]]) -> list[str]:
    """Which of these deeds were not refused to it, or for another reason than its rights."""
    done = []
    for name, deed in deeds.items():
        try:
            told: object = deed(client)
        except OperationFailure as error:
            if error.code == UNAUTHORIZED:
                continue
            told = error
        done.append(f"{name}: {told!r}")
    return done


def test_nobody_does_anything_without_credentials(guarded: Guarded) -> None:
    for member in guarded.deployment.members:
        with Client(LOOPBACK, member.port, directConnection=True) as stranger:
            assert done_by(stranger, DEEDS) == []
        assert member.alive()


OF_THE_SUBJECT = {"read", "write", "list", "run JavaScript"}


def test_the_subject_may_use_its_database_and_no_more(guarded: Guarded) -> None:
    forbidden = {name: deed for name, deed in DEEDS.items() if name not in OF_THE_SUBJECT}
    for elsewhere in ("other", "local", "config", "admin"):
        forbidden[f"write to {elsewhere}"] = partial(_insert, elsewhere)
    with Client(guarded.deployment.uri(DATABASE)) as subject:
        assert done_by(subject, forbidden) == []


def _insert(database: str, client: Client) -> object:
    return client[database]["documents"].insert_one({})


def test_no_javascript_runs_where_the_subject_needs_none(guarded: Guarded) -> None:
    disabled = pytest.raises(PyMongoError, match=r"no globalScriptEngine|[Ss]cripting")
    with Client(guarded.deployment.uri(DATABASE)) as subject, disabled:
        DEEDS["run JavaScript"](subject)


def test_mongod_is_the_unprivileged_user_and_leaves_no_core(guarded: Guarded) -> None:
    account = server_account()
    for member in guarded.deployment.members:
        its = process(member)
        (user,) = set(its.uids())
        (group,) = set(its.gids())
        status = Path(f"/proc/{its.pid}/status").read_text()
        if account.dropped:
            assert user not in (0, account.uid), "it is the user of the application"
            assert group not in (0, account.gid)
            assert "Groups:\t \n" in status, "it kept root's groups"
        assert Path(its.cwd()) == guarded.scratch
        assert {one.laddr.ip for one in its.net_connections() if one.status == "LISTEN"} == {
            LOOPBACK
        }
        limits = Path(f"/proc/{its.pid}/limits").read_text().splitlines()
        (cores,) = [line.split() for line in limits if line.startswith("Max core file size")]
        assert cores[4] == "0"


def test_no_secret_is_where_another_user_could_read_it(guarded: Guarded) -> None:
    told = [path.read_text() for path in guarded.logs.rglob("*.log")]
    for member in guarded.deployment.members:
        its = process(member)
        told += [" ".join(its.cmdline()), " ".join(its.environ().values())]
    assert guarded.deployment.shown("anybody")["mongodb"] in guarded.deployment.uri("anybody")
    assert not [text for text in told for secret in secrets(guarded.deployment) if secret in text]


def test_another_user_reads_no_file_of_it(guarded: Guarded) -> None:
    assert stat.S_IMODE(guarded.scratch.stat().st_mode) & 0o007 == 0
    assert guarded.scratch.stat().st_uid == os.geteuid()
    files = [path for path in guarded.scratch.rglob("*") if path.is_file()]
    assert guarded.scratch / "keyfile" in files
    assert len(files) > 10
    files += [Path(f"/proc/{process(one).pid}/environ") for one in guarded.deployment.members]
    if os.geteuid() != 0:
        return  # we can't become another user; the modes of the directory were looked at
    for path in (guarded.scratch, *files):
        tried = subprocess.run(
            ["dd", f"if={path}", "of=/dev/null", "count=1"],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert b"Permission denied" in tried.stderr, (path, tried.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="all is one user's then")
def test_the_application_can_neither_end_it_nor_read_its_key(guarded: Guarded) -> None:
    account = server_account()
    pid = process(guarded.deployment.members[0]).pid
    for command in (["kill", "-9", str(pid)], ["dd", f"if={guarded.scratch / 'keyfile'}"]):
        tried = subprocess.run(
            command,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert tried.returncode != 0
        assert b"ermi" in tried.stderr, tried.stderr  # Operation not permitted, Permission denied
    assert guarded.deployment.trouble() == ""


def test_a_user_of_the_subject_is_gone_with_it(guarded: Guarded) -> None:
    guarded.deployment.prepare("wsgiproof_passing")
    uri = guarded.deployment.uri("wsgiproof_passing")
    with Client(uri) as subject:
        subject["wsgiproof_passing"]["documents"].insert_one({})
    guarded.deployment.drop("wsgiproof_passing")
    with Client(uri) as subject, pytest.raises(OperationFailure, match="Authentication failed"):
        subject["wsgiproof_passing"]["documents"].find_one()


def test_a_user_that_not_all_members_have_is_an_error(guarded: Guarded) -> None:
    assert guarded.deployment._home is not None
    uri = guarded.deployment._home.admin_uri(guarded.deployment._uri)
    with pytest.raises(ServiceFailed, match="not all members of the deployment have a new user"):
        _make_user(uri, 4, "wsgiproof_fourth", [])


def test_old_and_new_drivers_have_a_mechanism(guarded: Guarded) -> None:
    for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256"):
        uri = f"{guarded.deployment.uri(DATABASE)}&authMechanism={mechanism}"
        with Client(uri) as subject:
            assert subject[DATABASE]["documents"].find_one({"secret": 42}), mechanism


def test_a_replica_set_given_by_one_member_is_connected_to_as_a_whole(guarded: Guarded) -> None:
    first = min(guarded.deployment.ports)
    given = connect_deployment(f"mongodb://{LOOPBACK}:{first}/?directConnection=true")
    assert given.topology is Topology.REPLICA_SET
    assert given.ports == guarded.deployment.ports
    assert "directConnection" not in given.uri("someone")
    given.close()


def test_a_binary_in_a_closed_directory_and_an_application_with_its_rights(tmp_path: Path) -> None:
    """pytest's own directory is closed to others, as /root is where an environment may be.

    A standalone is as closed to others as a replica set, also where an application may use
    JavaScript and all databases.
    """
    binary = tmp_path / "mongod"
    binary.symlink_to(find_mongod(None).path)
    mongod = find_mongod(str(binary))
    with (
        scratch_directory() as scratch,
        start_deployment(
            Topology.STANDALONE, mongod, scratch, tmp_path, scripting=True
        ) as deployment,
    ):
        (member,) = deployment.members
        assert process(member).cmdline()[0] == str(binary)
        with Client(LOOPBACK, member.port, directConnection=True) as stranger:
            assert done_by(stranger, DEEDS) == []
        deployment.prepare("wsgiproof_own", for_app=True)
        with Client(deployment.uri("wsgiproof_own")) as client:
            client["shop"]["orders"].insert_one({"article": 7})
            assert client["shop"]["orders"].find_one({"$where": "this.article == 7"})
            client.drop_database("shop")
            with pytest.raises(OperationFailure, match="not authorized"):
                DEEDS["make the first user"](client)


def test_a_member_that_ends_before_the_replica_set_exists_is_no_defect_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = deployments._start

    def start_and_kill(members: Sequence[Member], replica_set: str | None) -> None:
        start(members, replica_set)
        members[2].kill()

    monkeypatch.setattr(deployments, "_start", start_and_kill)
    with (
        scratch_directory() as scratch,
        pytest.raises(ServiceFailed, match="the replica set could not be initiated: "),
        start_deployment(Topology.REPLICA_SET, find_mongod(None), scratch, tmp_path),
    ):
        pass


# Harm during a cell


class Harm(NullWatcher):
    """Does something once, as soon as a phase has begun."""

    def __init__(self, phase: PhaseName, deed: Callable[[], None]) -> None:
        self._phase = phase
        self._deed = deed
        self.done = False

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """The beginning of a phase, or a part of it."""
        if phase == self._phase and not self.done:
            self.done = True
            self._deed()


class Rig:
    """A cell that can be run again and again, and its deployment, which is within reach."""

    def __init__(self, output: Path, stack: ExitStack, topology: Topology, **options: Any) -> None:
        config = configured(
            mod_wsgi=(KNOWN_GOOD,),
            pymongo=(PYMONGO,),
            topology=(topology,),
            mode=(Mode.DAEMON,),
            control=CLEAN,
            requests=60,
            phases=(),
            **options,
        )
        setup = preflight(config)
        (self.job,) = plan(config, setup).jobs
        self._output = output
        self._context = make_context(setup, output, NullWatcher())
        self.deployments = RunningBackends(self._context, stack)
        self._number = 0

    @property
    def deployment(self) -> Deployment:
        running = self.deployments.get(self.job)
        assert isinstance(running, Deployment)
        return running

    def pid(self, number: int = 0) -> int:
        return process(self.deployment.members[number]).pid

    def run(self, harm: Harm | None = None, *, retries: int = 0) -> CellRecord:
        """Run it; there has to have been a chance for the harm."""
        self._number += 1
        output = self._output / str(self._number)
        output.mkdir()
        context: RunContext = msgspec.structs.replace(
            self._context, output=output, watcher=harm or NullWatcher()
        )
        job: Job = msgspec.structs.replace(self.job, retries=retries)
        record = run_cell(job, context, self.deployments)
        assert harm is None or harm.done
        return record


@contextmanager
def rig(tmp: Path, topology: Topology = Topology.STANDALONE, **options: Any) -> Iterator[Rig]:
    with ExitStack() as stack:
        yield Rig(tmp, stack, topology, **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A standalone that comes to harm again and again; each time another takes its place."""
    with rig(tmp_path_factory.mktemp("alone")) as bench:
        yield bench


def kill(pid: int, *signals: signal.Signals) -> Callable[[], None]:
    def deed() -> None:
        for number in signals:
            os.kill(pid, number)
            # One that is continued before it has stopped never has; and death takes a moment.
            while number is signal.SIGSTOP and state(pid) != psutil.STATUS_STOPPED:
                time.sleep(0.001)
            while number is signal.SIGKILL and state(pid) != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)

    return deed


def state(pid: int) -> str:
    """The state of a process; of one that is gone that of one that nobody has waited for yet."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return psutil.STATUS_ZOMBIE


def test_a_member_that_dies_during_a_cell_is_no_finding_about_the_subject(tmp_path: Path) -> None:
    """A standalone: the next test."""
    with rig(tmp_path, Topology.REPLICA_SET) as bench:
        first, pid = bench.deployment, bench.pid(-1)
        record = bench.run(Harm(PhaseName.SERIAL, kill(pid, signal.SIGKILL)))
        assert record.verdict is Verdict.ERROR
        assert record.reason.startswith(f"mongod-replica-set-3 (pid {pid}) died")
        assert "died of SIGKILL" in record.reason
        assert record.reason.endswith("which wsgiproof did not do")
        assert bench.deployment is not first


def test_it_is_tried_again_where_that_was_asked_for(alone: Rig) -> None:
    harm = Harm(PhaseName.WARM_UP, kill(alone.pid(), signal.SIGKILL))
    record = alone.run(harm, retries=1)
    assert record.verdict is Verdict.PASS, why(record)
    (tried,) = record.tries
    assert "mongod-standalone-1" in tried
    assert "died of SIGKILL" in tried


def test_a_deployment_that_died_or_is_not_healthy_is_replaced(alone: Rig) -> None:
    first = alone.deployment
    kill(alone.pid(), signal.SIGKILL)()
    second = alone.deployment
    assert second is not first
    assert alone.deployment is second, "it is well"
    second.healthy = False
    third = alone.deployment
    assert third is not second
    assert not second.members[0].alive()
    assert third.members[0].alive()
    assert alone.deployments.get(msgspec.structs.replace(alone.job, retries=1)) is third


def test_what_else_may_be_done_to_a_mongod(alone: Rig) -> None:
    """It may be paused, or asked to go; and its guard may be killed."""
    first, guard = alone.deployment, psutil.Process(alone.pid()).ppid()
    for pid, signals, told in (
        (guard, (signal.SIGKILL,), "because its guard was killed"),
        (0, (signal.SIGSTOP, signal.SIGCONT), "was paused for a while"),
        (0, (signal.SIGTERM,), "ended with exit code 0"),
    ):
        record = alone.run(Harm(PhaseName.PARALLEL, kill(pid or alone.pid(), *signals)))
        assert record.verdict is Verdict.ERROR
        assert told in record.reason
        assert alone.deployment is not first
        first = alone.deployment


def test_a_deployment_of_the_users_that_goes_away_is_no_finding(tmp_path: Path) -> None:
    with ExitStack() as users:
        host = users.enter_context(mongod_of_a_user(tmp_path))
        uri = f"mongodb://{host}/"
        with rig(tmp_path, mongodb=(uri,)) as bench:
            record = bench.run(Harm(PhaseName.PARALLEL, users.close))
    assert record.verdict is Verdict.ERROR
    assert record.reason == f"the MongoDB at {host} (--mongodb URI) no longer answers"


def parent_of_apache() -> int:
    """The pid of the one Apache that we have started."""
    below = psutil.Process().children(recursive=True)
    ours = [one for one in below if one.name() in ("apache2", "httpd")]
    (parent,) = [one for one in ours if one.ppid() not in {other.pid for other in ours}]
    return parent.pid


@pytest.mark.parametrize(
    ("signals", "told"),
    [
        ((signal.SIGKILL,), "died of SIGKILL"),
        ((signal.SIGSTOP, signal.SIGCONT), "was paused for a while"),
    ],
)
def test_who_can_have_killed_the_parent_of_apache(
    alone: Rig, signals: tuple[signal.Signals, ...], told: str
) -> None:
    def deed() -> None:
        kill(parent_of_apache(), *signals)()

    record = alone.run(Harm(PhaseName.PARALLEL, deed))
    if server_account().dropped:
        assert record.verdict is Verdict.ERROR, why(record)
        assert told in record.reason
        assert "Apache's parent process (pid " in record.reason
    else:  # the application may have done it
        assert record.verdict is not Verdict.ERROR
