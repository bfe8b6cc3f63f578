"""Limits of the machine: distinguished from faults of the subject, and named."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.control_groups import limited_group
from wsgiproof import limits
from wsgiproof.errors import describe
from wsgiproof.process.cgroups import group_directory

NOT_OURS = [
    # What an application prints, or what mod_wsgi prints for it.
    "[t] [wsgi:error] [pid 5] OSError: [Errno 24] Too many open files",
    "[t] [wsgi:error] [pid 5] (24)Too many open files in my shop",
    "[t] [wsgi:error] [pid 5] [client ::1:2] Traceback: (24)Too many open files: AH00159: fork",
    # Another error of Apache's.
    "[t] [core:error] [pid 5] (13)Permission denied: AH00023: Couldn't create the mutex",
    "[t] [mpm_event:notice] [pid 5] AH00489: Apache configured -- resuming normal operations",
]

OF_APACHE = {
    "[t] [mpm_prefork:error] [pid 5] (11)Resource temporarily unavailable: AH00159: fork: Unable "
    "to fork new process": "ulimit -u",
    "[t] [wsgi:alert] [pid 5] (11)Resource temporarily unavailable: mod_wsgi (pid=5): Couldn't "
    "create worker thread 3 in daemon process 'subject'.": "ulimit -u",
    "[t] [mpm_event:alert] [pid 5] (24)Too many open files: AH00476: x": "ulimit -n",
    "[t] [core:alert] [pid 5:tid 6] (24)Too many open files: AH00476: x": "ulimit -n",
    "[t] [core:alert] [pid 5:tid 6] [/a?b] (24)Too many open files: AH00476: x": "ulimit -n",
    "[t] [core:emerg] [pid 5] (28)No space left on device: AH00023: x": "No space left on device",
    "(30)Read-only file system: AH00091: httpd: could not open error log file /x": "Read-only",
    "(99)Cannot assign requested address: AH00072: make_sock: could not bind": "local port",
}


@pytest.mark.parametrize("line", NOT_OURS)
def test_what_the_application_says_is_no_limit_of_the_machine(line: str) -> None:
    assert limits.explain_log_line(line) == ""


@pytest.mark.parametrize(("line", "named"), OF_APACHE.items())
def test_apache_says_which_limit_it_met(line: str, named: str) -> None:
    assert named in limits.explain_log_line(line)


def run(code: str, **kwargs: object) -> str:
    """What ``code`` prints, in a process whose limits are its own."""
    start = "import resource\nfrom wsgiproof import limits\nfrom wsgiproof.errors import describe\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, **kwargs
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_too_few_descriptors_are_reported_with_their_number() -> None:
    message = run(
        "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 40))\n"
        "kept = []\n"
        "try:\n    while True: kept.append(open('/dev/null'))\n"
        "except OSError as error: message = describe(error)\n"
        "kept.clear()\nprint(message)"
    )
    assert "its limit is 32" in message
    assert "its hard limit is 40" in message


def test_a_file_that_may_not_grow_is_reported(tmp_path: Path) -> None:
    message = run(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"try:\n    open({str(tmp_path / 'x')!r}, 'wb', 0).write(bytes(200))\n"
        f"    open({str(tmp_path / 'x')!r}, 'ab', 0).write(bytes(200))\n"
        "except OSError as error: print(describe(error))"
    )
    assert "ulimit -f" in message
    assert "100" in message


def test_no_more_threads_are_reported() -> None:
    error = RuntimeError("can't start new thread")
    assert "ulimit -u" in limits.explain(error)
    assert limits.explain(RuntimeError("something else")) == ""


def test_no_more_memory_is_reported() -> None:
    assert "no memory left" in limits.explain(MemoryError())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_reported_with_the_place(code: int) -> None:
    message = describe(OSError(code, os.strerror(code), "/there"))
    assert message.startswith(f"{os.strerror(code)} at /there")


def test_an_error_that_is_not_a_limit_is_unchanged() -> None:
    assert limits.explain(FileNotFoundError(errno.ENOENT, "No such file", "/x")) == ""
    assert describe(OSError(errno.ENOENT, "No such file", "/x")) == "No such file: /x"


def test_a_disk_with_room_is_not_full(tmp_path: Path) -> None:
    assert limits.why_full(tmp_path) == ""
    assert limits.why_full(tmp_path / "none") == ""
    assert limits.why_full(Path("/proc")) == "", "it tells no size"


def test_a_port_can_be_had() -> None:
    assert limits.why_no_port() == ""


def test_the_tasks_of_a_user_are_its_processes_and_their_threads() -> None:
    uid = os.getuid()
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(40)]
    own = len([*Path("/proc/self/task").iterdir()])
    for thread in threads:
        thread.start()
    assert len([*Path("/proc/self/task").iterdir()]) == own + 40
    assert limits.tasks(uid) >= own + 40
    over.set()
    for thread in threads:
        thread.join()
    assert limits.tasks(2**31 - 7) == 0


MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
39 31 0:36 {root} /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 {root} /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("controller", "groups", "root", "directory"),
    [
        ("pids", "8:pids:/\n0::/x\n", "/", "/sys/fs/cgroup/pids"),
        ("pids", "8:cpu,pids:/a/b\n0::/x\n", "/a", "/sys/fs/cgroup/pids/b"),
        ("pids", "8:pids:/elsewhere\n", "/a", None),
        ("pids", "8:name=pids:/\n0::/\n", "/", None),
        ("", "8:pids:/a\n0::/user.slice/x:y\n", "/", "/sys/fs/cgroup/uni fied/user.slice/x:y"),
        ("", "8:pids:/a\n", "/", None),
    ],
)
def test_a_control_group_is_found_below_its_mount(
    controller: str, groups: str, root: str, directory: str | None
) -> None:
    found = group_directory(groups, MOUNTS.format(root=root), controller)
    assert found == (Path(directory) if directory else None)


# What a run needs is checked, and limits are raised, before anything is started


ROOM = """
from wsgiproof.process.account import server_account
from wsgiproof.config.model import Config
from wsgiproof.errors import PrerequisiteMissing
from wsgiproof.run.preflight import raise_limits
def room():
    try:
        print("room:", raise_limits(Config(axes={"topology": ("none",)}), server_account()))
    except PrerequisiteMissing as error:
        print("missing:", error)
"""


def test_a_soft_limit_is_raised_for_all_that_is_started() -> None:
    message = run(
        ROOM + "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))\nroom()\n"
        "import subprocess\n"
        "print(subprocess.check_output(['sh', '-c', 'ulimit -n']).decode())"
    )
    assert message.startswith("room: at least ")
    assert 512 <= int(message.split()[-1]) <= 4096


def test_a_soft_limit_that_is_enough_stays() -> None:
    message = run(
        ROOM + "resource.setrlimit(resource.RLIMIT_NOFILE, (3000, 4096))\nroom()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert message.splitlines()[-1] == "(3000, 4096)"


@pytest.mark.parametrize(
    ("kind", "option", "value"), [("NOFILE", "n", 32), ("NPROC", "u", 20), ("FSIZE", "f", 1000)]
)
def test_a_hard_limit_that_is_too_low_is_named_with_its_value(
    kind: str, option: str, value: int
) -> None:
    message = run(ROOM + f"resource.setrlimit(resource.RLIMIT_{kind}, ({value}, {value}))\nroom()")
    assert message.startswith(f"missing: the limit is {value:,} ")
    assert f"`ulimit -H{option}`" in message
    assert len(message.splitlines()) == 1


def test_a_control_group_that_allows_too_few_processes_is_named_with_its_value() -> None:
    group = limited_group(100)
    if group is None:
        assert os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK)
        return
    try:
        (group / "below").mkdir()  # the limit of a group applies below it, too
        enter = f"open('{group}/below/cgroup.procs', 'w').write('0')\n"
        message = run(ROOM + f"{enter}room()")
    finally:
        (group / "below").rmdir()
        group.rmdir()
    assert message.startswith(
        "missing: the limit is 100 processes and threads of the control group"
    )
    assert f"and a run needs about 500 more: raise {group}/pids.max" in message
    assert len(message.splitlines()) == 1
