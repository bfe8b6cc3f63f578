"""The guard and its owner, on real small processes.

Every process that a test looks for is known by its pid, and ended by it.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from wsgiproof.errors import CannotRun, DeadlineExceeded, ServiceFailed
from wsgiproof.process.commands import run
from wsgiproof.process.environ import child_environment
from wsgiproof.process.guard.proc import children
from wsgiproof.process.guard.settings import CORE_DESCRIPTOR
from wsgiproof.process.guarded import Confinement, PrivatePlaces, ProcessEvent
from wsgiproof.process.service import Service
from wsgiproof.process.signals import interrupted_by

ENV = child_environment()
SLEEPER = ("sleep", "1000")
LONG = 300.0
"""Seconds: a deadline that a busy machine keeps, too."""

# Dies by a signal at SIGUSR1, in a child that the parent collects within 10 ms, as Apache does.
CRASHING_CHILD = """
import os, resource, signal, time
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
child = os.fork()
if child == 0:
    signal.sigwait([signal.SIGUSR1])
    os.kill(os.getpid(), signal.SIGSEGV)
while os.waitpid(child, os.WNOHANG) == (0, 0):
    time.sleep(0.01)
"""

# Writes the pid of a process that has left its parent and its session.
DAEMONISES = """
import os, pathlib, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
        time.sleep(1000)
    os._exit(0)
os.wait()
"""

IGNORES_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)"

# Owns a service and a daemon of it, tells their pids, and waits.
OWNER = """
import pathlib, sys, time
from wsgiproof.process.service import Service
directory = pathlib.Path(sys.argv[1])
argv = [sys.executable, "-S", "-c", sys.argv[2], str(directory / "daemon")]
with Service(argv, name="owned", log=directory / "log", events=directory / "events", env={},
             remove=[directory / "scratch"]) as service:
    time.sleep(1000)
"""


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition: Callable[[], object], seconds: float = LONG) -> bool:
    """Return whether a condition came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def pid_in(path: Path) -> int:
    """Return the pid that a program under test writes to a file."""
    assert wait_until(lambda: path.exists() and path.read_text())
    return int(path.read_text())


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *arguments]


def deaths(events: list[ProcessEvent]) -> dict[int, ProcessEvent]:
    return {event.pid: event for event in events if event.kind == "died"}


@pytest.fixture
def service(tmp_path: Path) -> Callable[..., Service]:
    """Return a maker of services whose log and events are in ``tmp_path``."""

    def make(*argv: str, **options: object) -> Service:
        usual = {"log": tmp_path / "log", "events": tmp_path / "events", "env": os.environ}
        return Service(argv, name="test", **(usual | options))  # type: ignore[arg-type]

    return make


# --- how a service ends --------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_of_the_service_is_reported(
    service: Callable[..., Service], code: int
) -> None:
    with service("sh", "-c", f"exit {code}") as it:
        assert it.wait(LONG)
        born, died = it.events()
        assert (born.kind, born.pid, born.name) == ("born", it.pid, "sh")
        assert (died.kind, died.pid, died.exit, died.signal) == ("died", it.pid, code, None)
        assert died.time >= born.time
        assert not it.alive()
        assert it.living() == {}


def test_the_service_leads_its_own_session_and_its_parent_is_not_us(
    service: Callable[..., Service],
) -> None:
    with service(*SLEEPER) as it:
        assert it.alive()
        assert it.living() == {it.pid: "sleep"}
        assert os.getsid(it.pid) == os.getpgid(it.pid) == it.pid
        assert it.events()[0].ppid != os.getpid()


def test_the_death_of_the_service_by_a_signal_is_reported(service: Callable[..., Service]) -> None:
    with service(*SLEEPER) as it:
        it.signal(signal.SIGABRT)
        assert it.wait(LONG)
        died = it.events()[-1]
        assert (died.exit, died.signal) == (None, signal.SIGABRT)


def test_the_crash_of_a_child_that_its_parent_collects_is_reported(
    service: Callable[..., Service],
) -> None:
    with service(*python(CRASHING_CHILD)) as it:
        assert wait_until(lambda: len(it.living()) == 2)
        (child_pid,) = it.living().keys() - {it.pid}
        os.kill(child_pid, signal.SIGUSR1)
        assert it.wait(LONG)
        died = deaths(it.events())
        assert died.pop(it.pid).exit == 0
        (child,) = died.values()
        assert (child.exit, child.signal, child.core) == (None, signal.SIGSEGV, False)


def test_every_one_of_many_simultaneous_crashes_is_reported(
    service: Callable[..., Service],
) -> None:
    code = (
        "import os, signal, time\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        "pids = [os.fork() for _ in range(8) if os.getpid() == os.getsid(0)]\n"
        "time.sleep(1000) if 0 in pids else signal.sigwait([signal.SIGUSR1])\n"
        "[os.kill(pid, 11) for pid in pids]\n"
        "[os.wait() for pid in pids]\n"
    )
    with service(*python(code)) as it:
        assert wait_until(lambda: len(it.living()) == 9)
        it.signal(signal.SIGUSR1)
        assert it.wait(LONG)
        died = deaths(it.events())
        assert [*died][-1] == it.pid, "then all others have been reported"
        assert died.pop(it.pid).exit == 0
        assert [event.signal for event in died.values()] == [11] * 8


# --- ending it -----------------------------------------------------------------------------


def test_stop_sends_the_signal_and_can_be_called_again(service: Callable[..., Service]) -> None:
    with service(*SLEEPER) as it:
        stopped = it.stop(LONG, sig=signal.SIGINT)
        assert stopped.leftover == ()
        assert it.events()[-1].signal == signal.SIGINT
        assert it.stop(LONG) == stopped


def test_what_ignores_the_signal_is_killed_at_the_deadline_and_named(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    with service(*python(IGNORES_TERM + "; time.sleep(1000)")) as it:
        assert wait_until(lambda: (tmp_path / "log").read_text() == "deaf\n")
        stopped = it.stop(0.3)
        assert stopped.leftover == (it.pid,)
        assert stopped.seconds >= 0.3
        assert it.events()[-1].signal == signal.SIGKILL


def test_what_does_not_go_at_once_is_followed_until_it_is_killed(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    seen: list[tuple[list[int], float]] = []
    with service(*python(IGNORES_TERM + "; time.sleep(1000)")) as it:
        assert wait_until(lambda: (tmp_path / "log").read_text() == "deaf\n")
        stopped = it.stop(0.6, follow=lambda waited: seen.append(([*it.living()], waited)))
    assert seen
    assert all(living == [it.pid] for living, _ in seen)
    assert [waited for _, waited in seen] == sorted(waited for _, waited in seen)
    assert seen[-1][1] <= stopped.seconds


@pytest.mark.parametrize("largest", [0, 1 << 26])
def test_a_process_may_leave_as_large_a_core_as_requested(
    service: Callable[..., Service], tmp_path: Path, largest: int
) -> None:
    limit = python("import resource as r; print(r.getrlimit(r.RLIMIT_CORE)[0], flush=True)")
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    expected = largest if hard == resource.RLIM_INFINITY else min(largest, hard)
    with service(*limit, core=largest) as it:
        assert it.wait(LONG)
    assert (tmp_path / "log").read_text() == f"{expected}\n"


def test_a_process_gets_the_directory_for_its_core_as_a_descriptor(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    link = python(f"import os; print(os.readlink('/proc/self/fd/{CORE_DESCRIPTOR}'), flush=True)")
    with service(*link, core_directory=tmp_path) as it:
        assert it.wait(LONG)
    assert (tmp_path / "log").read_text() == f"{tmp_path}\n"


def test_a_program_that_is_missing_is_reported_where_there_is_such_a_directory(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    with pytest.raises(ServiceFailed, match="/no/program"):
        service("/no/program", core_directory=tmp_path).__enter__()


def test_a_daemonised_grandchild_is_found_and_ended(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    with service(*python(DAEMONISES, str(tmp_path / "daemon"))) as it:
        daemon = pid_in(tmp_path / "daemon")
        assert wait_until(lambda: daemon in it.living() and not it.alive())
        assert not it.wait(0.1)
        assert it.stop(0.2).leftover == (daemon,)
        assert not is_alive(daemon)
        assert deaths(it.events())[daemon].signal == signal.SIGKILL


def test_leaving_ends_everything_also_on_an_exception(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError), service(*python(DAEMONISES, f"{tmp_path}/d")) as it:
        daemon = pid_in(tmp_path / "d")
        guard = it.events()[0].ppid
        raise ZeroDivisionError
    assert guard is not None
    assert not any(map(is_alive, (it.pid, daemon, guard)))


def test_a_killed_guard_is_an_error_and_takes_the_service_along(
    service: Callable[..., Service],
) -> None:
    with service(*SLEEPER) as it:
        guard = it.events()[0].ppid
        assert guard is not None
        os.kill(guard, signal.SIGKILL)
        with pytest.raises(ServiceFailed, match="its guard is gone"):
            it.wait(LONG)
        assert not it.alive()
    assert wait_until(lambda: not is_alive(it.pid))


def test_a_terminated_guard_goes_on(service: Callable[..., Service]) -> None:
    with service(*SLEEPER) as it:
        guard = it.events()[0].ppid
        assert guard is not None
        os.kill(guard, signal.SIGTERM)
        assert not it.wait(0.2)
        assert it.stop(LONG).leftover == ()


# --- the end of the owner ------------------------------------------------------------------


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Return a starter of an owner of a service; the scratch directory exists by then."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str) -> subprocess.Popen[bytes]:
        Path(tmp_path, "scratch", "deep").mkdir(parents=True)
        Path(tmp_path, "scratch", "deep", "file").write_text("x")
        command = [sys.executable, "-c", OWNER, str(tmp_path), code]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def pids_in_events(path: Path) -> set[int]:
    """Return the pids of a service, its descendants and its guard."""
    words = path.read_text().replace(",", " ").replace("}", " ").split()
    return {int(words[i + 1]) for i, word in enumerate(words) if word in ('"pid":', '"ppid":')}


@pytest.mark.parametrize(
    "code",
    [DAEMONISES, DAEMONISES.replace("import", IGNORES_TERM + "\nimport", 1)],
    ids=["obedient", "deaf"],
)
def test_nothing_outlives_a_killed_owner(
    owner: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path, code: str
) -> None:
    process = owner(code)
    daemon = pid_in(tmp_path / "daemon")
    events = tmp_path / "events"
    assert wait_until(lambda: daemon in pids_in_events(events))
    pids = pids_in_events(events)
    assert len(pids) >= 3
    process.kill()
    assert wait_until(lambda: not any(map(is_alive, pids)), 5)
    assert not (tmp_path / "scratch").exists()


def test_ctrl_c_ends_the_service_and_leaves_the_directories_to_the_owner(
    owner: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = owner(DAEMONISES)
    daemon = pid_in(tmp_path / "daemon")
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG) == -signal.SIGINT
    assert not is_alive(daemon)
    assert not any(map(is_alive, pids_in_events(tmp_path / "events") - {process.pid}))
    assert (tmp_path / "scratch").exists()


# --- starting it ---------------------------------------------------------------------------


def test_what_cannot_be_executed_is_reported_on_one_line(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    with pytest.raises(ServiceFailed, match=r"^test: cannot start /no/such: No such file or dir"):
        service("/no/such").__enter__()
    with pytest.raises(ServiceFailed, match=r"^test: cannot start .*plain: Permission denied$"):
        service(str(plain)).__enter__()
    with pytest.raises(ServiceFailed, match=r"^test: cannot start /no/dir: No such file or dir"):
        service("true", cwd=Path("/no/dir")).__enter__()


def test_log_environment_and_directory_are_the_given_ones(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("before\n")
    env = {"ONLY": "ä\n", "PATH": os.environ["PATH"], "LD_LIBRARY_PATH": "/no/such"}
    with service("sh", "-c", "pwd; env | sort; echo oops >&2", env=env, cwd=tmp_path) as it:
        assert it.wait(LONG)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == ["before", str(tmp_path)]
    assert lines[-1] == "oops"
    assert {"ONLY=ä", "LD_LIBRARY_PATH=/no/such"} <= set(lines)
    assert not [line for line in lines if line.startswith(("HOME=", "LC_CTYPE="))]


def test_the_service_has_only_the_standard_descriptors_and_default_signals(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    with service("sh", "-c", "ls -l /proc/self/fd; grep -E 'Sig(Ign|Blk)' /proc/self/status") as it:
        assert it.wait(LONG)
    log = (tmp_path / "log").read_text()
    # The fourth is the directory that ls reads.
    assert log.count(" -> ") == 4, log
    assert "0 -> /dev/null" in log
    # 32 and 33 are glibc's own (signal(7)): nobody can set them, and they come as we got them.
    glibc = 0b11 << 31
    masks = [int(line.split()[1], 16) for line in log.splitlines() if "Sig" in line]
    assert [mask & ~glibc for mask in masks] == [0, 0]


def test_services_in_several_threads(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            log, events = tmp_path / f"log{number}", tmp_path / f"events{number}"
            argv = ["sh", "-c", f"exit {number}"]
            with Service(argv, name="x", log=log, events=events, env=os.environ) as it:
                assert it.wait(LONG)
                assert it.events()[-1].exit == number
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- run -----------------------------------------------------------------------------------


def test_run_returns_output_and_exit_code(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    done = run(
        ["sh", "-c", "echo out; printf 'b\\377d' >&2; exit 3"], deadline=LONG, env=ENV, log=log
    )
    assert (done.returncode, done.output) == (3, "out\nb\ufffdd")
    assert 0 < done.seconds < LONG
    assert log.read_bytes() == b"before\nout\nb\377d"


def test_run_tells_a_signal_as_a_negative_code() -> None:
    assert run(["sh", "-c", "kill -11 $$"], deadline=LONG, env=ENV).returncode == -signal.SIGSEGV


def test_run_kills_what_is_too_slow_and_says_what_it_said_last(tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; echo working; sleep 1000; true"
    with pytest.raises(DeadlineExceeded, match=r"after 5 s and has been killed.*: working$"):
        run(["sh", "-c", script], deadline=5, env=ENV)
    assert not is_alive(pid_in(tmp_path / "pid"))


def test_run_ends_what_the_command_leaves_behind(tmp_path: Path) -> None:
    began = time.monotonic()
    assert run(python(DAEMONISES, str(tmp_path / "daemon")), deadline=LONG, env=ENV).returncode == 0
    assert time.monotonic() - began < 1000, "it was waited for"
    assert not is_alive(pid_in(tmp_path / "daemon"))


def test_run_says_what_cannot_be_executed() -> None:
    with pytest.raises(CannotRun, match=r"^cannot start no-such-program: No such file or dir"):
        run(["no-such-program"], deadline=LONG, env=ENV)


def test_ctrl_c_ends_a_running_command(tmp_path: Path) -> None:
    code = (
        "import sys; from wsgiproof.process.commands import run\n"
        "run(['sh', '-c', 'echo $$ > $0; sleep 1000; true', sys.argv[1]], deadline=1000, env={})\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "pid")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        pid = pid_in(tmp_path / "pid")
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG) == -signal.SIGINT
    assert not is_alive(pid)


def test_a_command_of_another_thread_ends_on_request() -> None:
    interrupted = threading.Event()
    others = set(psutil.Process().children(recursive=True))
    pids: list[int] = []

    def work() -> None:
        with interrupted_by(interrupted):
            run([sys.executable, "-c", "import time; time.sleep(1000)"], deadline=1000, env=ENV)

    def watch() -> None:
        while not (children := set(psutil.Process().children(recursive=True)) - others):
            time.sleep(0.01)
        pids.extend(child.pid for child in children)
        interrupted.set()

    with ThreadPoolExecutor() as pool:
        working = pool.submit(work)
        watch()
        with pytest.raises(KeyboardInterrupt):
            working.result()
    assert not any(map(psutil.pid_exists, pids))


# --- limits --------------------------------------------------------------------------------

MANY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.setsid()
        signal.pause()
print("forked", flush=True)
signal.pause()
"""


def test_all_children_of_a_process_are_seen_also_more_than_a_page_of_them(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    with service(*python(MANY, "1500")) as it:
        assert wait_until(lambda: "forked" in (tmp_path / "log").read_text(), 60)
        assert len(children(it.pid)) == 1500


FEW_DESCRIPTORS = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n" + OWNER


def test_a_guard_with_few_descriptors_ends_more_processes_than_it_can_watch(
    tmp_path: Path,
) -> None:
    code = MANY.replace("int(sys.argv[1])", "200").replace(
        'print("forked", flush=True)', "open(sys.argv[1], 'w').write(str(os.getpid()))"
    )
    command = [sys.executable, "-c", FEW_DESCRIPTORS, str(tmp_path), code]
    with subprocess.Popen(command) as process:
        pid_file = tmp_path / "daemon"
        assert wait_until(lambda: pid_file.exists() and pid_file.read_text(), 60)
        pid = int(pid_file.read_text())
        everyone = [pid, *children(pid)]
        assert len(everyone) == 201
        process.kill()
    assert wait_until(lambda: not any(map(is_alive, everyone)), 60)


def test_a_limit_that_is_reached_is_named() -> None:
    code = (
        "import resource, sys; from wsgiproof.errors import CannotRun\n"
        "from wsgiproof.process.commands import run\n"
        "run(['true'], deadline=300, env={})\n"
        "low = (3, 3)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, low)\n"
        "try: run(['true'], deadline=300, env={})\n"
        "except CannotRun as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "this process has no descriptor left (its limit is 3)" in done.stdout


# --- Ctrl-C ----------------------------------------------------------------------------------

# Ends a service that is deaf for a while, in a clean-up that tells when it begins.
INTERRUPTED = """
import pathlib, sys, time
from wsgiproof.process.service import Service
from wsgiproof.process.signals import interrupts_deferred, install_handlers
install_handlers()
directory = pathlib.Path(sys.argv[1])
argv = [sys.executable, "-S", "-c", sys.argv[2]]
try:
    with Service(argv, name="x", log=directory / "log", events=directory / "events", env={}) as it:
        try:
            print(it.pid, flush=True)
            time.sleep(1000)
        finally:
            print("cleaning", flush=True)
            it.stop(1.5)
            print("stopped", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


def test_a_second_ctrl_c_does_not_break_the_clean_up_of_the_first(tmp_path: Path) -> None:
    deaf = IGNORES_TERM + "; time.sleep(1000)"
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), deaf]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert wait_until(lambda: (tmp_path / "log").read_text() == "deaf\n", 30)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"cleaning\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=300) == (b"stopped\ninterrupted\n", b"")
        assert process.returncode == 130
    assert not is_alive(pid)


def test_an_interrupt_waits_for_what_must_not_be_broken_off() -> None:
    code = (
        "import os, signal\n"
        "from wsgiproof.process.signals import interrupts_deferred, install_handlers\n"
        "install_handlers()\n"
        "try:\n"
        "    with interrupts_deferred():\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('inside')\n"
        "    print('never')\n"
        "except KeyboardInterrupt: print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "inside\nafter\n"


# --- what is taken from a command ----------------------------------------------------------


def test_a_confined_command_has_its_limits(service: Callable[..., Service], tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    limits = {"processor": 7, "data": 1 << 30, "processes": 10_000, "file": 4096}
    code = (
        "import resource as r; "
        "print([r.getrlimit(k) for k in (r.RLIMIT_CPU, r.RLIMIT_DATA, r.RLIMIT_FSIZE)])"
    )
    with service(*python(code), confinement=Confinement(tmp_path / "work", limits)) as it:
        assert it.wait(LONG)
        written = (tmp_path / "log").read_text()
    assert written == f"[(7, 7), ({1 << 30}, {1 << 30}), (4096, 4096)]\n"


def test_a_confined_command_writes_in_one_directory_and_has_no_network(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    code = (
        "import os, socket, sys\n"
        "open('inside', 'w').write('x')\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        open(path, 'w').close()\n        print('files')\n"
        "    except OSError: pass\n"
        "print(len(socket.if_nameindex()) > 1 and 'network' or '')\n"
    )
    outside = str(tmp_path / "outside")
    confined = Confinement(work, {"file": 1 << 20})
    with service(*python(code, outside), cwd=work, confinement=confined) as it:
        assert it.wait(LONG)
        assert it.events()[-1].exit == 0
        refused = it.not_confined()
    could = (tmp_path / "log").read_text().split()
    assert set(could) <= set(refused), "what the kernel did not allow is told"
    if "files" not in refused:
        assert list(work.iterdir()) == [], "its file system has ended with it"
        assert not (tmp_path / "outside").exists()


def test_without_confinement_nothing_is_told(service: Callable[..., Service]) -> None:
    with service("true") as it:
        assert it.wait(LONG)
        assert it.not_confined() == {}


# What a service does not share with the machine


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces without a user namespace")
def test_a_service_has_places_of_its_own_and_sees_what_is_named(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    place, own = tmp_path / "place", tmp_path / "own"
    for directory in (place / "seen", place / "hidden", own / "seen"):
        directory.mkdir(parents=True)
    (place / "seen" / "file").touch()
    code = "import os, sys; print(os.listdir(sys.argv[1])); open(sys.argv[1] + '/new', 'w')"
    code += "; print(os.listdir(sys.argv[1] + '/seen')); print(os.readlink('/proc/self/ns/ipc'))"
    private = PrivatePlaces({place: own}, [place / "seen"])
    with service(*python(code, str(place)), private=private) as it:
        assert it.wait(LONG)
        if not it.private():
            pytest.skip("the kernel does not allow it")
    *seen, namespace = (tmp_path / "log").read_text().splitlines()
    assert seen == ["['seen']", "['file']"]
    assert namespace != str(Path("/proc/self/ns/ipc").readlink())
    assert {path.name for path in own.iterdir()} == {"seen", "new"}
    assert {path.name for path in place.iterdir()} == {"seen", "hidden"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces without a user namespace")
def test_a_service_shares_all_places_if_one_of_them_cannot_be_its_own(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    place, own = tmp_path / "place", tmp_path / "own"
    for directory in (place, own):
        directory.mkdir()
    (place / "file").touch()
    code = "import os, sys; print(os.listdir(sys.argv[1])); print(os.readlink('/proc/self/ns/ipc'))"
    private = PrivatePlaces({place: own, tmp_path / "none": own})
    with service(*python(code, str(place)), private=private) as it:
        assert it.wait(LONG)
        assert it.private() == {}
    shared = (tmp_path / "log").read_text().splitlines()
    assert shared == ["['file']", str(Path("/proc/self/ns/ipc").readlink())]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its root directory")
def test_a_service_that_gets_no_places_of_its_own_stays_below_its_root_directory(
    tmp_path: Path,
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "here").mkdir()
    # What is no mount point, as most directories, can't be kept apart from other namespaces.
    code = (
        "import os; from wsgiproof.process.guard.private import enter_namespaces\n"
        "os.chroot('.'); os.chdir('here')\n"
        "try: enter_namespaces({}, [])\n"
        "except OSError: print(*sorted(os.listdir('/')), os.getcwd())"
    )
    mounting = 'mount --bind /proc proc && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounting, "sh", sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "here proc /here\n"
