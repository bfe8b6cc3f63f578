"""What an application leaves outside its process, counted for real."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgiproof.observe import remains
from wsgiproof.observe.remains import Remains, read_process_table
from wsgiproof.provision.toolchain import Application
from wsgiproof.records.observed import Role

PID = os.getpid()
LIVING = {PID: Role.WORKER}


@pytest.fixture
def application(tmp_path: Path) -> Application:
    for name in ("tmp", "evidence", "evidence/core-7", "home"):
        (tmp_path / name).mkdir()
    return Application(
        directory=tmp_path,
        script=tmp_path / "script.wsgi",
        groups=("one",),
        evidence=tmp_path / "evidence",
        tmp=tmp_path / "tmp",
        home=str(tmp_path / "home"),
    )


def read(application: Application) -> dict[str, int | None]:
    return Remains(application).read(LIVING, {PID})


def test_files_and_directories_of_its_own_places_count(application: Application) -> None:
    assert read(application)["files"] == 0
    (application.tmp / "deep" / "deeper").mkdir(parents=True)
    (application.tmp / "deep" / "deeper" / "file").write_bytes(b"x" * 10_000)
    (application.evidence / "core-7" / "core").write_text("wsgiproof removes it")
    (application.evidence / "identity-7.txt").write_text("wsgiproof's own")
    counts = read(application)
    assert counts["files"] == 3
    assert 10_000 <= (counts["bytes"] or 0) <= 40_000


def test_links_count_and_are_not_followed(application: Application, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    (application.tmp / "link").symlink_to(other)
    assert read(application)["files"] == 1


def test_a_directory_that_is_gone_holds_nothing(application: Application) -> None:
    application.tmp.rmdir()
    assert read(application)["files"] == 0


def test_a_walk_that_is_too_long_counts_nothing(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remains, "_MOST_ENTRIES", 3)
    for number in range(5):
        (application.tmp / str(number)).touch()
    assert (read(application)["files"], read(application)["bytes"]) == (None, None)


@pytest.fixture
def segment() -> Iterator[None]:
    libc = ctypes.CDLL(None)
    made = libc.shmget(0, 4096, 0o1600)
    assert made >= 0
    yield
    libc.shmctl(made, 0, None)


def test_a_segment_of_one_of_its_processes_counts(application: Application, segment: None) -> None:
    mine = read(application)["segments"]
    others = Remains(application).read(LIVING, {2**30})["segments"]
    assert (mine, others) == (1, 0)


def test_children_and_zombies_count(application: Application) -> None:
    assert read(application)["children"] == 0
    with subprocess.Popen(["/bin/true"]) as child:
        while not any(one.pid == child.pid and one.zombie for one in read_process_table()):
            time.sleep(0.01)
        assert read(application)["children"] == 1
        # No process can have this pid (proc(5): pid_max is at most 2**22), nor children.
        with_helper = LIVING | {2**22 + 1: Role.HELPER}
        assert Remains(application).read(with_helper, {PID})["children"] == 2
        nobody = {1: Role.FRONTEND}
        assert Remains(application).read(nobody, {PID})["children"] == 0
    assert read(application)["children"] == 0


def test_places_that_all_share_count_only_if_nobody_else_is_this_user(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").touch()
    monkeypatch.setattr(remains, "TEMPORARY", (shared,))

    def elsewhere(user: int | None, ever: set[int]) -> object:
        values = {name: getattr(application, name) for name in application.__struct_fields__}
        one = Application(**values | {"user": user})
        return Remains(one).read(LIVING, ever).get("files elsewhere", "left out")

    everybody = {one.pid for one in read_process_table()}
    unused = 2**31 - 7
    assert elsewhere(None, everybody) == "left out"
    assert elsewhere(os.geteuid(), set()) == "left out"
    assert elsewhere(unused, set()) == 0
    mine = os.geteuid()
    monkeypatch.setattr(remains, "read_process_table", lambda: ())
    assert elsewhere(mine, set()) == 1
    (Path(application.home) / "relative.log").touch()
    assert elsewhere(mine, set()) == 2


def test_private_places_count_beside_other_processes_of_the_user(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, memory = tmp_path / "shared", tmp_path / "shm"
    places = {place: tmp_path / f"own-{place.name}" for place in (shared, memory)}
    for directory in (shared, *places.values()):
        directory.mkdir()
    (shared / "of-another-process").touch()
    monkeypatch.setattr(remains, "TEMPORARY", (shared,))
    monkeypatch.setattr(remains, "SHARED_MEMORY", memory)
    values = {name: getattr(application, name) for name in application.__struct_fields__}
    mine = Application(**values | {"user": os.geteuid(), "home": ""})

    def counts() -> dict[str, int | None]:
        return Remains(mine, places, os.getpid()).read(LIVING, set())

    before = counts()
    assert (before["files"], before["files elsewhere"], before["shared files"]) == (0, 0, 0)
    (places[shared] / "left").mkdir()
    (places[shared] / "left" / "too").touch()
    (mine.tmp / "and-this").touch()
    (places[memory] / "sem.left").touch()
    after = counts()
    assert (after["files"], after["files elsewhere"], after["shared files"]) == (3, 0, 1)
    monkeypatch.setattr(remains, "_MOST_ENTRIES", 0)
    cut = counts()
    assert (cut["files"], cut["shared files"]) == (None, None), "unknown, and no pass"


def test_a_home_that_others_use_is_left_out_with_private_places(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remains, "TEMPORARY", (tmp_path,))
    values = {name: getattr(application, name) for name in application.__struct_fields__}
    mine = Application(**values | {"user": os.geteuid()})
    counts = Remains(mine, {tmp_path: application.tmp}, os.getpid()).read(LIVING, set())
    assert "files elsewhere" not in counts
    assert counts["files"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root enters another namespace")
def test_system_v_objects_are_those_of_the_servers_namespace(application: Application) -> None:
    code = (
        "import ctypes, sys; libc = ctypes.CDLL(None); assert libc.unshare(0x08000000) == 0; "
        "assert libc.semget(0, 1, 0o1600) >= 0; print(flush=True); sys.stdin.read()"
    )
    values = {name: getattr(application, name) for name in application.__struct_fields__}
    mine = Application(**values | {"user": os.geteuid()})
    mounted = {Path("/tmp"): application.tmp}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        if not other.stdout.readline():
            pytest.skip("the kernel does not allow it")
        own = str(Path("/proc/self/ns/ipc").readlink())
        assert Remains(mine, mounted, other.pid).read(LIVING, set())["semaphores"] == 1
        assert str(Path("/proc/thread-self/ns/ipc").readlink()) == own


def test_a_home_that_is_in_a_shared_place_or_behind_a_link_counts_once(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remains, "TEMPORARY", (tmp_path,))
    monkeypatch.setattr(remains, "read_process_table", lambda: ())
    (tmp_path / "current").symlink_to(application.home)
    values = {name: getattr(application, name) for name in application.__struct_fields__}
    values |= {"user": os.geteuid(), "home": str(tmp_path / "current")}

    def elsewhere() -> int:
        return Remains(Application(**values)).read(LIVING, set())["files elsewhere"] or 0

    before = elsewhere()
    (Path(application.home) / "relative.log").touch()
    assert elsewhere() == before + 1
