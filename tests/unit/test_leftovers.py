"""What killed runs leave behind, cleared by the next one; on real processes.

Each run here is a process of its own, with a directory of its own for the files of runs, as this
user and, where this is root, as an ordinary one as well.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import wsgiproof
from tests.unit.test_process import is_alive, wait_until
from wsgiproof.process.cgroups import end_group, make_group, remove_abandoned_groups
from wsgiproof.process.leftovers import clean_up
from wsgiproof.process.spawn import MARKER

ORDINARY = "www-data"


def python_of(user: str) -> str:
    """An interpreter of our version that this user may execute; ours may be in root's home."""
    usual = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, usual) if user else (sys.executable,):
        try:
            subprocess.run([path, "-c", ""], user=user or None, cwd="/", env={}, check=True)
        except OSError:
            continue
        return path
    return ""


USERS = ["", *([ORDINARY] if os.geteuid() == 0 and python_of(ORDINARY) else [])]
"""Whom to be: ourselves, and somebody who can make no control groups."""

SOURCE = Path(wsgiproof.__file__).parents[1]
SITE = [path for path in map(Path, sys.path) if path.name == "site-packages"]

# Starts a service with a child that has left its session and ignores TERM, tells of all, and waits.
# Its second argument is what that child is executed as.
RUN = """
import json, os, pathlib, sys, time
from wsgiproof.process.leftovers import become_reaper, current_run, new_directory
from wsgiproof.process.service import Service
become_reaper()
scratch = new_directory()
(scratch / "deep").mkdir()
(scratch / "deep" / "link").symlink_to(sys.argv[1])
pids = scratch / "pids"
code = sys.argv[2]
service = Service([sys.executable, "-I", "-S", "-c", code, str(pids)], name="owned",
                  log=scratch / "log", events=scratch / "events", env={}, remove=[scratch])
with service:
    while not pids.exists() or pids.read_text().count("\\n") < 2:
        time.sleep(0.01)
        assert service.alive(), (scratch / "log").read_text()
    daemon, itself = map(int, pids.read_text().split())
    run = current_run()
    print(json.dumps({"pid": os.getpid(), "guard": service.events()[0].ppid, "daemon": daemon,
                      "service": itself, "scratch": str(scratch), "group": str(run.group or ""),
                      "status": open(f"/proc/{daemon}/status").read()}), flush=True)
    sys.stdin.readline()
    if sys.argv[3:]:
        try:
            service.stop(5)
        except Exception as error:
            print(json.dumps({"error": str(error)}), flush=True)
        sys.stdin.readline()
"""

DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def tell():
    with open(sys.argv[1], "a") as file:
        file.write("%d\\n" % os.getpid())
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        WHAT
    os._exit(0)
os.wait()
while not os.path.exists(sys.argv[1]) or open(sys.argv[1]).read().count("\\n") < 1:
    time.sleep(0.01)
tell()
time.sleep(1000)
"""
MARKED = DAEMON.replace("WHAT", "tell(); time.sleep(1000)")
"""A daemon that keeps the marker in its environment."""
BARE = DAEMON.replace(
    "WHAT", "tell(); os.execve('/bin/sleep', ['sleep', '1000'], {'NOTHING': '1'})"
)
"""It has replaced its environment."""


def await_bare(pid: int) -> None:
    """Wait until the daemon, which tells of itself first, has replaced its environment."""
    limit = time.monotonic() + 60
    while MARKER in Path(f"/proc/{pid}/environ").read_text():
        assert time.monotonic() < limit
        time.sleep(0.01)


class Place:
    """A directory of a user's own, with all that its runs write."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.root = Path(tempfile.mkdtemp(prefix="wp-runs-", dir="/tmp"))
        self.victim = self.root / "victim"
        for path in (self.victim, self.root / "tmp", self.runtime):
            path.mkdir(mode=0o700)
        (self.victim / "kept").write_text("kept")
        if user:
            subprocess.run(["chown", "-R", f"{user}:", str(self.root)], check=True)
        self._started: list[subprocess.Popen[str]] = []
        self._pids: list[int] = []

    @property
    def runtime(self) -> Path:
        return self.root / "runtime"

    @property
    def runs(self) -> Path:
        return self.runtime / "wsgiproof"

    def files(self) -> list[str]:
        return sorted(path.name for path in self.runs.iterdir()) if self.runs.exists() else []

    def python(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.root / "tmp"),
            "WSGIPROOF_CACHE": str(self.root / "cache"),
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join([str(SOURCE), *map(str, SITE)]),
        }
        started = subprocess.Popen(
            [python_of(self.user), "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
            user=self.user or None,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
        )
        self._started.append(started)
        return started

    def run(self, code: str, *more: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """A run with a service, and what it tells of it."""
        process = self.python(RUN, str(self.victim), code, *more)
        assert process.stdout is not None
        info: dict[str, Any] = json.loads(process.stdout.readline())
        self._pids += [info["daemon"], info["service"], info["guard"]]
        if code == BARE:
            await_bare(info["daemon"])
        return process, info

    def next_run(self) -> None:
        """Another one, which clears what is left."""
        process = self.python("from wsgiproof.process.leftovers import current_run; current_run()")
        assert process.wait(60) == 0

    def clean_up(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        for pid in filter(is_alive, self._pids):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)


@pytest.fixture(params=USERS, ids=lambda user: user or "self")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(request.param)
    yield made
    made.clean_up()


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_killed_run_and_its_killed_guard_are_cleared_by_the_next(place: Place) -> None:
    process, info = place.run(MARKED)
    kill(info["guard"], info["pid"])
    process.wait()
    assert is_alive(info["daemon"])
    assert Path(info["scratch"]).exists()
    place.next_run()
    assert not is_alive(info["daemon"])
    assert not is_alive(info["service"])
    assert not Path(info["scratch"]).exists()
    assert (place.victim / "kept").read_text() == "kept"
    assert place.files() == []
    assert not info["group"] or not Path(info["group"]).exists()


def test_with_a_control_group_nothing_needs_the_marker(place: Place) -> None:
    process, info = place.run(BARE)
    assert MARKER not in Path(f"/proc/{info['daemon']}/environ").read_text()
    kill(info["guard"], info["pid"])
    process.wait()
    place.next_run()
    assert not is_alive(info["service"])
    assert not Path(info["scratch"]).exists()
    # Without a group, a process that has replaced its environment can't be identified.
    assert is_alive(info["daemon"]) is not bool(info["group"])


@pytest.mark.parametrize("code", [MARKED, BARE], ids=["marked", "bare"])
def test_what_a_killed_guard_has_left_is_ended_by_its_owner(place: Place, code: str) -> None:
    process, info = place.run(code, "stop")
    assert process.stdin is not None
    assert process.stdout is not None
    kill(info["guard"])
    process.stdin.write("stop\n")
    process.stdin.flush()
    assert "its guard is gone" in json.loads(process.stdout.readline())["error"]
    assert not is_alive(info["daemon"])
    assert not is_alive(info["service"])
    process.stdin.close()
    process.wait()
    assert place.files() == []


def test_a_paused_service_of_a_killed_guard_is_ended_by_stop(place: Place) -> None:
    process, info = place.run(MARKED, "stop")
    assert process.stdin is not None
    assert process.stdout is not None
    os.kill(info["service"], signal.SIGSTOP)
    kill(info["guard"])
    process.stdin.write("stop\n")
    process.stdin.flush()
    assert "its guard is gone" in json.loads(process.stdout.readline())["error"]
    assert not is_alive(info["service"])


def test_a_paused_guard_is_an_error_and_holds_nothing_up(place: Place) -> None:
    process, info = place.run(MARKED, "stop")
    assert process.stdin is not None
    assert process.stdout is not None
    os.kill(info["guard"], signal.SIGSTOP)
    assert wait_until(lambda: psutil.Process(info["guard"]).status() == psutil.STATUS_STOPPED)
    process.stdin.write("stop\n")
    process.stdin.flush()
    assert "its guard has been paused" in json.loads(process.stdout.readline())["error"]
    assert not any(map(is_alive, (info["service"], info["daemon"], info["guard"])))


def test_a_run_of_which_a_guard_lives_is_left_alone(place: Place) -> None:
    process, info = place.run(MARKED)
    os.kill(info["guard"], signal.SIGSTOP)
    kill(info["pid"])
    process.wait()
    place.next_run()
    assert is_alive(info["daemon"])
    assert Path(info["scratch"]).exists()
    os.kill(info["guard"], signal.SIGCONT)
    assert wait_until(lambda: not is_alive(info["guard"]), 30)
    assert not is_alive(info["daemon"])
    assert not Path(info["scratch"]).exists()
    place.next_run()
    assert place.files() == []


KILLED_AS_IT_MAKES_ONE = """
import os, signal, sys
from pathlib import Path
from wsgiproof.process import leftovers
leftovers.current_run()
if sys.argv[1] == "before":
    Path.mkdir = lambda self, **options: os.kill(os.getpid(), signal.SIGKILL)
else:
    leftovers.RunRegistration.add_directory = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
leftovers.new_directory()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_as_it_makes_a_directory_leaves_none(
    tmp_path: Path, when: str
) -> None:
    scratch, runs = tmp_path / "scratch", tmp_path / "cache"
    scratch.mkdir()
    env = {"TMPDIR": str(scratch), "WSGIPROOF_CACHE": str(runs), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", KILLED_AS_IT_MAKES_ONE, when]
    assert subprocess.run(command, env=env, check=False).returncode == -signal.SIGKILL
    assert len(list(scratch.iterdir())) == (when == "after")
    following = "from wsgiproof.process.leftovers import current_run; current_run()"
    subprocess.run([sys.executable, "-c", following], env=env, check=True)
    assert not list(scratch.iterdir())


def test_another_directory_of_the_same_name_is_left_alone(place: Place) -> None:
    process, info = place.run(MARKED)
    kill(info["guard"], info["pid"])
    process.wait()
    scratch = Path(info["scratch"])
    scratch.rename(place.root / "moved")
    scratch.mkdir()
    (scratch / "another's").write_text("")
    place.next_run()
    assert (scratch / "another's").exists()
    assert not is_alive(info["daemon"])


def test_a_link_in_its_place_is_not_followed(place: Place) -> None:
    process, info = place.run(MARKED)
    kill(info["guard"], info["pid"])
    process.wait()
    scratch = Path(info["scratch"])
    shutil.rmtree(scratch)
    scratch.symlink_to(place.victim)
    place.next_run()
    assert (place.victim / "kept").exists()


def test_a_run_that_ends_leaves_nothing(place: Place) -> None:
    process, info = place.run(MARKED)
    assert place.files() == [f"{_name_of(place)}.run"]
    process.communicate("")
    assert process.returncode == 0
    assert not is_alive(info["daemon"])
    assert not Path(info["scratch"]).exists()
    assert place.files() == []
    assert not info["group"] or not Path(info["group"]).exists()


def _name_of(place: Place) -> str:
    (file,) = place.runs.iterdir()
    name: str = json.loads(file.read_text().splitlines()[0])["run"]
    return name


KEEPS = """
import sys
from wsgiproof.process.leftovers import end_run, new_directory
scratch = new_directory()
(scratch / "deep").mkdir()
print(scratch, flush=True)
sys.stdin.readline()
end_run()
"""


@contextmanager
def kept_from_removal(scratch: Path, *, root: bool) -> Iterator[None]:
    """Nothing can remove it inside: it has a mount point, or its parent can't be written."""
    if root:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", scratch / "deep"], check=True)
    else:
        scratch.parent.chmod(0o555)
    try:
        yield
    finally:
        if root:
            subprocess.run(["umount", scratch / "deep"], check=True)
        else:
            scratch.parent.chmod(0o700)


def test_what_cannot_be_removed_at_the_end_is_removed_by_the_next(place: Place) -> None:
    process = place.python(KEEPS)
    assert process.stdout is not None
    scratch = Path(process.stdout.readline().strip())
    with kept_from_removal(scratch, root=os.geteuid() == 0 and not place.user):
        process.communicate("\n", timeout=300)
    assert scratch.exists()
    place.next_run()
    assert not scratch.exists()
    assert place.files() == []


def test_only_a_directory_that_is_ours_alone_is_used(place: Place) -> None:
    place.runs.mkdir()
    place.runs.chmod(0o777)
    fifo = place.runs / "0123456789abcdef.run"
    os.mkfifo(fifo)
    place.next_run()
    assert place.files() == [fifo.name]
    assert (place.root / "cache" / "runs").is_dir() or Path("/run/wsgiproof").is_dir()


@pytest.mark.parametrize(
    "content", [b"", b"[]\n", b"\xff\n{}\n", b'{"directory": 7}\n', b'{"run": "x", "gro']
)
def test_a_damaged_file_does_not_keep_a_run_from_beginning(tmp_path: Path, content: bytes) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "0123456789abcdef.run").write_bytes(content)
    os.mkfifo(tmp_path / "fedcba9876543210.run", 0o600)
    (tmp_path / "0000000000000000.run").symlink_to("/dev/zero")
    clean_up(tmp_path)
    assert not (tmp_path / "0123456789abcdef.run").exists()


def test_a_group_ends_what_forks_without_end(tmp_path: Path) -> None:
    group = make_group(f"wsgiproof-test-{os.getpid()}")
    if group is None:  # an ordinary user's: see the other tests for what is done then
        assert os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK)
        return
    bomb = (
        "import os, sys, time\n"
        "open(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"
        "for _ in range(300):\n"
        "    if os.fork() == 0: os.setsid()\n"
        "    if len(open(sys.argv[1] + '/cgroup.procs').read().split()) > 500: time.sleep(100)\n"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", bomb, str(group)]) as process:
        assert wait_until(lambda: (group / "cgroup.procs").read_text().count("\n") > 100, 30)
        assert end_group(group, 30)
    assert process.returncode == -signal.SIGKILL


def test_an_empty_group_that_nobody_knows_is_removed_and_a_young_or_a_used_one_is_not() -> None:
    names = [f"wsgiproof-test-{os.getpid()}-{kind}" for kind in ("old", "young", "used")]
    made = [make_group(name) for name in names]
    old, young, used = (group for group in made)
    if old is None or young is None or used is None:
        assert os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK)
        return
    try:
        (old / "below").mkdir()
        with subprocess.Popen(["sleep", "60"]) as sleeper:
            (used / "cgroup.procs").write_text(str(sleeper.pid))
            for group in (old, used):
                os.utime(group, (0, 0))
            remove_abandoned_groups()
            assert [group.exists() for group in (old, young, used)] == [False, True, True]
            sleeper.kill()
    finally:
        for group in (old, young, used):
            end_group(group, 30)


INTERRUPTED = """
import os, signal
from pathlib import Path
from wsgiproof.process.leftovers import current_run, end_run, new_directory
from wsgiproof.process.signals import install_handlers
install_handlers()
current_run()
made = Path.mkdir
def interrupted(self, **options):
    made(self, **options)
    os.kill(os.getpid(), signal.SIGINT)
Path.mkdir = interrupted
try:
    new_directory()
except KeyboardInterrupt:
    end_run()
    print(os.listdir(os.environ["TMPDIR"]))
"""


def test_ctrl_c_as_a_directory_is_made_leaves_none(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[]\n", "")
