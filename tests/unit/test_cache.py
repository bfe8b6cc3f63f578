"""The build cache: built once, never half full."""

from __future__ import annotations

import errno
import io
import os
import pwd
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from wsgiproof.errors import BuildFailed, CannotRun, Locked
from wsgiproof.files import cache_root
from wsgiproof.process.locks import acquire, open_lock
from wsgiproof.process.signals import interrupted_by
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.toolchain import State

KEY = {"version": "1.2", "python": "3.12.1"}


class Build:
    """Counts its calls, and takes a while, so that others come while it is at work."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self, directory: Path) -> None:
        with self._lock:
            self.calls += 1
        (directory / "half").write_text("half")
        time.sleep(self._seconds)
        (directory / "whole").write_text("whole")
        (directory / "below").mkdir()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_an_entry_is_built_once_and_then_taken(cache: Cache) -> None:
    build = Build()
    assert not cache.holds("kind", KEY)
    first = cache.entry("kind", KEY, build)
    assert cache.holds("kind", KEY)
    assert cache.entry("kind", KEY, build) == first
    assert build.calls == 1
    assert (first / "whole").read_text() == "whole"
    assert first.name.startswith("1.2-")


def test_any_other_key_or_kind_is_another_entry(cache: Cache) -> None:
    build = Build()
    entries = {
        cache.entry("kind", KEY, build),
        cache.entry("other", KEY, build),
        cache.entry("kind", KEY | {"python": "3.12.2"}, build),
        cache.entry("kind", {"version": "1.2"}, build),
        cache.entry("kind", {"python": "3.12.1"}, build),
    }
    assert len(entries) == build.calls == 5


def test_the_order_of_a_key_does_not_matter(cache: Cache) -> None:
    build = Build()
    reverse = dict(reversed(KEY.items()))
    assert cache.entry("kind", KEY, build) == cache.entry("kind", reverse, build)
    assert build.calls == 1


def test_two_threads_build_once(cache: Cache) -> None:
    build = Build(0.2)
    with ThreadPoolExecutor(4) as pool:
        entries = list(pool.map(lambda _: cache.entry("kind", KEY, build), range(4)))
    assert build.calls == 1
    assert len(set(entries)) == 1
    assert (entries[0] / "whole").exists()


BUILDER = """
import os, sys, time
from pathlib import Path
from wsgiproof.provision.cache import Cache

def build(directory):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    time.sleep(0.3)
    (directory / "whole").write_text("whole")

print("ready", flush=True)
sys.stdin.readline()
entry = Cache(Path(sys.argv[1])).entry("kind", {"version": "1.2"}, build)
assert (entry / "whole").exists()
print(entry)
"""


def test_two_processes_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", BUILDER, str(tmp_path / "cache"), str(log)]
    builders = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for builder in builders:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "ready\n"
    for builder in builders:
        assert builder.stdin is not None
        builder.stdin.write("\n")
        builder.stdin.flush()
    answers = [builder.communicate(timeout=3000)[0] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert answers[0] == answers[1]
    assert log.read_text() == "built\n"


@pytest.mark.parametrize("error", [BuildFailed("no compiler"), KeyboardInterrupt()])
def test_a_failed_build_leaves_nothing_and_the_next_one_builds(
    cache: Cache, error: BaseException
) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("half")
        raise error

    with pytest.raises(type(error)):
        cache.entry("kind", KEY, fail)
    assert not cache.holds("kind", KEY)
    assert [path for path in (cache.root / "kind").iterdir() if path.is_dir()] == []
    build = Build()
    assert (cache.entry("kind", KEY, build) / "whole").exists()
    assert build.calls == 1


def test_what_a_killed_build_left_is_rebuilt(cache: Cache) -> None:
    entry = cache.entry("kind", KEY, Build())
    (entry / "wsgiproof-entry.json").unlink()  # it is written last
    (entry / "rubbish").write_text("of the killed one")
    assert not cache.holds("kind", KEY)
    build = Build()
    assert cache.entry("kind", KEY, build) == entry
    assert build.calls == 1
    assert not (entry / "rubbish").exists()


def test_a_really_killed_build_is_rebuilt(tmp_path: Path) -> None:
    code = (
        "import os, sys, signal\nfrom pathlib import Path\n"
        "from wsgiproof.provision.cache import Cache\n"
        "def build(directory):\n"
        "    (directory / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Cache(Path(sys.argv[1])).entry('kind', {KEY!r}, build)\n"
    )
    root = tmp_path / "cache"
    killed = subprocess.run([sys.executable, "-c", code, str(root)], timeout=3000, check=False)
    assert killed.returncode == -9
    assert len(list(root.glob("kind/*/half"))) == 1
    cache, build = Cache(root), Build()
    assert not cache.holds("kind", KEY)
    assert (cache.entry("kind", KEY, build) / "whole").exists()
    assert build.calls == 1


def test_others_can_read_it_whatever_the_umask(cache: Cache) -> None:
    """Apache's children run as somebody else."""
    before = os.umask(0o077)
    try:
        entry = cache.entry("kind", KEY, Build())
    finally:
        os.umask(before)
    for path in (cache.root, entry.parent, entry):
        assert path.stat().st_mode & 0o777 == 0o755


def test_a_root_that_can_not_be_written_is_one_line_with_a_fix() -> None:
    cache = Cache(Path("/dev/null/x"))
    assert not cache.holds("kind", KEY)
    with pytest.raises(CannotRun) as caught:
        cache.entry("kind", KEY, Build())
    message = str(caught.value)
    assert "/dev/null/x" in message
    assert "WSGIPROOF_CACHE" in message
    assert "\n" not in message


def test_trouble_inside_a_build_is_not_blamed_on_the_cache(cache: Cache) -> None:
    def build(directory: Path) -> None:
        Path("/nowhere/compiler").read_bytes()

    with pytest.raises((OSError, CannotRun)) as caught:
        cache.entry("kind", KEY, build)
    assert "build cache" not in str(caught.value)


def test_the_environment_names_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSGIPROOF_CACHE", str(tmp_path))
    assert cache_root() == Cache().root == tmp_path.resolve()
    monkeypatch.delenv("WSGIPROOF_CACHE")
    assert cache_root().name == "wsgiproof"


def test_what_is_there_is_listed_with_what_it_cost(cache: Cache) -> None:
    path = cache.entry("kind", KEY, Build(0.05))
    (entry,) = cache.entries()
    assert (entry.kind, entry.name, entry.path) == ("kind", path.name, str(path))
    assert (entry.state, entry.bytes, entry.key) == (State.BUILT, len("halfwhole"), KEY)
    assert entry.seconds is not None
    assert entry.seconds >= 0.05
    assert entry.used == pytest.approx(time.time(), abs=60)


def test_it_is_known_when_an_entry_was_last_asked_for(cache: Cache) -> None:
    marker = cache.entry("kind", KEY, Build()) / "wsgiproof-entry.json"
    os.utime(marker, (0, 0))
    assert cache.entries()[0].used == 0
    cache.entry("kind", KEY, Build())
    assert cache.entries()[0].used > 0
    os.utime(marker, (0, 0))
    cache.use(marker.parent / "bin" / "python")
    assert cache.entries()[0].used > 0
    cache.use(Path("/usr/bin/python3"))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: (path / "whole").write_text("other"),
        lambda path: (path / "whole").unlink(),
        lambda path: (path / "new").write_text(""),
        lambda path: (path / "whole").rename(path / "moved"),
        lambda path: (path / "whole").chmod(0o600),
        lambda path: (path / "below").chmod(0o700),
    ],
    ids=["changed", "gone", "added", "renamed", "file closed", "directory closed"],
)
def test_what_is_not_as_it_was_built_is_damaged(cache: Cache, harm: Callable[[Path], None]) -> None:
    path = cache.entry("kind", KEY, Build())
    assert [one.state for one in cache.entries(thorough=True)] == [State.BUILT]
    harm(path)
    assert [one.state for one in cache.entries(thorough=True)] == [State.DAMAGED]


def test_bytecode_that_an_interpreter_leaves_is_no_damage(cache: Cache) -> None:
    path = cache.entry("kind", KEY, Build())
    (path / "__pycache__").mkdir()
    (path / "__pycache__" / "x.pyc").write_bytes(b"")
    assert [one.state for one in cache.entries(thorough=True)] == [State.BUILT]


def test_an_unreadable_marker_is_damage(cache: Cache) -> None:
    path = cache.entry("kind", KEY, Build())
    (path / "wsgiproof-entry.json").write_text("{}")
    assert [one.state for one in cache.entries()] == [State.DAMAGED]


def test_what_was_removed_is_built_again(cache: Cache) -> None:
    path = cache.entry("kind", KEY, Build())
    assert cache.remove(cache.entries()[0])
    assert not path.exists()
    assert cache.entries() == []
    build = Build()
    cache.entry("kind", KEY, build)
    assert build.calls == 1


def test_what_is_being_built_is_unfinished_and_can_not_be_removed(cache: Cache) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def build(directory: Path) -> None:
        begun.set()
        go_on.wait(10)

    with ThreadPoolExecutor() as pool:
        building = pool.submit(cache.entry, "kind", KEY, build)
        begun.wait(10)
        (entry,) = cache.entries()
        assert entry.state is State.UNFINISHED
        assert not cache.remove(entry)
        go_on.set()
        assert building.result().is_dir()


def test_it_is_not_exclusive_while_another_process_uses_it(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom wsgiproof.provision.cache import Cache\n"
        f"Cache(Path(sys.argv[1])).entry('kind', {KEY!r}, lambda directory: None)\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
    )
    cache = Cache(tmp_path)
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdin is not None
        assert user.stdout.readline() == b"ready\n"
        with pytest.raises(CannotRun, match="another wsgiproof is using"), cache.exclusive():
            pass
        user.stdin.close()
    with cache.exclusive():
        pass


def test_the_log_of_a_failed_build_is_kept_and_named(cache: Cache) -> None:
    def fail(directory: Path) -> None:
        (directory / "build.log").write_text("cc: fatal error")
        raise BuildFailed("it does not compile")

    with pytest.raises(BuildFailed) as caught:
        cache.entry("kind", KEY, fail)
    (log,) = cache.root.glob("kind/*.log")
    assert str(caught.value) == f"it does not compile (log: {log})"
    assert log.read_text() == "cc: fatal error"
    cache.entry("kind", KEY, Build())
    assert not log.exists()


@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_disk_is_one_line_with_a_fix(cache: Cache, trouble: int) -> None:
    def build(directory: Path) -> None:
        raise OSError(trouble, os.strerror(trouble), "some/file")

    with pytest.raises(CannotRun, match="make room there or point WSGIPROOF_CACHE"):
        cache.entry("kind", KEY, build)
    assert cache.entries() == []


# Who else can write there

NOBODY = pwd.getpwnam("nobody").pw_uid


def give_away(path: Path) -> str:
    """Have it be another user's, or, where we may not do that, everybody's to write; what is said
    of it then."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, -1)
        return f"belongs to 'nobody' (uid {NOBODY})"
    path.chmod(path.stat().st_mode | 0o002)
    return "is writable by everyone"


def refusal(cache: Cache) -> str:
    """Why nothing is taken from the cache, nor put into it."""
    build = Build()
    with pytest.raises(CannotRun) as caught:
        cache.entry("kind", KEY, build)
    assert build.calls == 0
    message = str(caught.value)
    assert message.isprintable()
    assert "point WSGIPROOF_CACHE at another directory" in message
    return message


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_are_exact_whatever_the_umask(umask: int, cache: Cache) -> None:
    modes = []

    def build(directory: Path) -> None:
        modes.append(directory.stat().st_mode & 0o7777)
        (directory / "below" / "deep").mkdir(parents=True)
        (directory / "below" / "file").write_text("x")
        (directory / "below" / "program").write_text("x")
        (directory / "below" / "program").chmod(0o4770)
        (directory / "link").symlink_to("/etc/passwd")

    before = os.umask(umask)
    try:
        entry = cache.entry("kind", KEY, build)
    finally:
        os.umask(before)
    assert modes == [0o700], "with a umask of 0, others could write into it before it is done"
    found = {str(path.relative_to(cache.root)): path for path in cache.root.rglob("*")}
    assert cache.root.stat().st_mode & 0o7777 == 0o755
    for name, path in found.items():
        mode = path.lstat().st_mode & 0o7777
        if name.endswith(".lock"):
            assert mode == 0o600
        elif path.is_dir() or path.name == "program":
            assert mode == 0o755, name
        elif not path.is_symlink():
            assert mode == 0o644, name
    assert cache.entry("kind", KEY, Build()) == entry


@pytest.mark.parametrize("place", ["cache", "cache/kind", "ENTRY"])
def test_what_is_another_users_or_everybodys_to_write_is_not_used(
    place: str, cache: Cache, tmp_path: Path
) -> None:
    entry = cache.entry("kind", KEY, Build())
    path = entry if place == "ENTRY" else tmp_path / place
    shown = give_away(path)
    assert f"because {path} {shown}: " in refusal(cache)
    with pytest.raises(CannotRun, match="is not used because"):
        cache.use(entry / "bin" / "python")
    assert cache.built("kind") == []


@pytest.mark.parametrize("place", ["cache", "cache/kind", "."])
def test_what_everybody_may_write_is_not_used_and_how_to_change_that_is_said(
    place: str, cache: Cache, tmp_path: Path
) -> None:
    cache.entry("kind", KEY, Build())
    path = (tmp_path / place).resolve()
    mode = path.stat().st_mode
    path.chmod(mode | 0o002)
    assert f"{path} is writable by everyone: 'chmod o-w {path}', or " in refusal(cache)
    path.chmod(mode)
    assert cache.entry("kind", KEY, Build()).is_dir()


def test_a_cache_below_a_directory_with_the_sticky_bit_is_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    assert Cache(tmp_path / "cache").entry("kind", KEY, Build()).is_dir()


@pytest.mark.parametrize("place", ["cache/kind", "ENTRY"])
def test_a_link_in_the_cache_is_not_followed(place: str, cache: Cache, tmp_path: Path) -> None:
    entry = cache.entry("kind", KEY, Build())
    path = entry if place == "ENTRY" else tmp_path / place
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    build = Build()
    with pytest.raises(CannotRun, match=f"{path} of the build cache is a link: remove it"):
        cache.entry("kind", KEY, build)
    assert build.calls == 0


def test_a_file_that_everybody_may_write_makes_an_entry_be_built_again(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = cache.entry("kind", KEY, Build())
    (entry / "whole").chmod(0o666)
    build = Build()
    cache.entry("kind", KEY, build)
    assert build.calls == 1
    assert "whole is writable by everyone" in capsys.readouterr().err


# Locks

HOLDER = (
    "import fcntl, sys\nfile = open(sys.argv[1], 'a')\n"
    "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "print('ready', flush=True)\nsys.stdin.readline()\n"
)


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock at ``path``."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"ready\n"
        yield holder
        holder.stdin.close()


def plant(path: Path, what: str) -> None:
    """Put something that is no lock of ours into the place of one."""
    path.unlink(missing_ok=True)
    if what == "fifo":
        os.mkfifo(path)
    elif what == "link":
        path.with_name("target").touch()
        path.symlink_to("target")
    elif what == "directory":
        path.mkdir()
    elif os.geteuid() == 0:
        path.touch()
        os.chown(path, NOBODY, -1)
    else:  # only root can make a file of another user's
        path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("what", ["fifo", "link", "directory", "another user's"])
@pytest.mark.parametrize("lock", ["in use", "entry"])
def test_a_lock_file_of_another_kind_is_not_waited_for(
    what: str, lock: str, tmp_path: Path
) -> None:
    """In a process of its own, since each holds the cache for as long as it lives."""
    root = tmp_path / "cache"
    entry = Cache(root).entry("kind", {"version": "1.2"}, Build())
    path = root / "in-use.lock" if lock == "in use" else Path(f"{entry}.lock")
    (entry / "wsgiproof-entry.json").unlink()
    plant(path, what)
    command = [sys.executable, "-c", BUILDER, str(root), str(tmp_path / "log")]
    done = subprocess.run(
        command, input="\n", capture_output=True, text=True, timeout=300, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert f"CannotRun: {path} can't be used as a lock because it " in last
    assert last.endswith("remove it")
    assert not (tmp_path / "log").exists()


def test_only_we_can_open_a_lock_to_hold_it(cache: Cache) -> None:
    entry = cache.entry("kind", KEY, Build())
    locks = [cache.root / "in-use.lock", Path(f"{entry}.lock")]
    for lock in locks:
        assert lock.stat().st_mode & 0o7777 == 0o600
        lock.chmod(0o644)  # an earlier version left it like that
    descriptors = [open_lock(lock) for lock in locks]
    for lock, descriptor in zip(locks, descriptors, strict=True):
        assert lock.stat().st_mode & 0o7777 == 0o600
        os.close(descriptor)


def test_who_holds_a_lock_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with held(path) as holder:
        descriptor = open_lock(path)
        with pytest.raises(Locked) as caught:
            acquire(descriptor, path, seconds=0)
        assert f"{path} is locked by process {holder.pid} ({sys.executable} -c " in str(
            caught.value
        )
        os.close(descriptor)


def test_who_waits_for_a_lock_says_for_whom_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    shown: list[str] = []
    with held(path) as holder:

        def end(text: str) -> None:
            shown.append(text)
            holder.kill()

        descriptor = open_lock(path)
        acquire(descriptor, path, seconds=60, on_wait=end)
        os.close(descriptor)
    assert len(shown) == 1
    assert shown[0].startswith(f"waiting for {path}, which is locked by process {holder.pid} (")


def test_a_builder_that_waits_for_another_says_so(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not capsys: what another thread writes while it is read is lost.
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    entry = cache.entry("kind", KEY, Build())
    (entry / "wsgiproof-entry.json").unlink()
    with held(Path(f"{entry}.lock")) as holder, ThreadPoolExecutor() as pool:
        building = pool.submit(cache.entry, "kind", KEY, Build())
        while "\n" not in said.getvalue():
            assert not building.done()
            time.sleep(0.01)
        holder.kill()
        assert building.result() == entry
    assert f"waiting for {entry}, which is locked by process {holder.pid} (" in said.getvalue()


def test_a_wait_for_another_builder_ends_with_an_interrupt(cache: Cache) -> None:
    entry = cache.entry("kind", KEY, Build())
    (entry / "wsgiproof-entry.json").unlink()
    interrupted = threading.Event()

    def build() -> None:
        with interrupted_by(interrupted):
            cache.entry("kind", KEY, Build())

    with held(Path(f"{entry}.lock")), ThreadPoolExecutor() as pool:
        building = pool.submit(build)
        interrupted.set()
        with pytest.raises(KeyboardInterrupt):
            building.result()


# Whether it is still what was built


def replaced(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


HARMS: dict[str, Callable[[Path], object]] = {
    "changed": lambda path: (path / "whole").write_text("other"),
    "cut": lambda path: (path / "whole").write_text("who"),
    "gone": lambda path: (path / "whole").unlink(),
    "added": lambda path: (path / "new").write_text(""),
    "a fifo": lambda path: replaced(path / "whole", os.mkfifo),
    "a link": lambda path: replaced(path / "whole", lambda whole: whole.symlink_to("half")),
    "a directory": lambda path: replaced(path / "whole", Path.mkdir),
    "its bytecode": lambda path: (path / "__pycache__" / "a.pyc").write_bytes(b""),
}


def build_with_bytecode(directory: Path) -> None:
    """Larger than what is read at each use."""
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    (directory / "half").write_text("half")
    (directory / "whole").write_text("whole")
    (directory / "large").write_bytes(bytes(100_000))
    (directory / "é\udcff").write_text("a name in no encoding")


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_not_as_it_was_built_is_built_again_with_a_line(
    harm: str, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cache.entry("kind", KEY, build_with_bytecode)
    assert cache.entry("kind", KEY, Build()) == path
    assert capsys.readouterr().err == ""
    HARMS[harm](path)
    assert not cache.holds("kind", KEY)
    with pytest.raises(CannotRun, match="has changed since it was built"):
        cache.use(path / "whole")
    assert cache.built("kind") == []
    capsys.readouterr()
    cache.entry("kind", KEY, build_with_bytecode)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"wsgiproof: {path} has changed since it was built and is rebuilt: ")
    assert (path / "whole").read_text() == "whole"
    assert cache.holds("kind", KEY)
    assert cache.built("kind") == [path]


def unnoticed(path: Path) -> None:
    """Damage that has neither another size nor another time, as a bad disk does it."""
    status = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_digests_find_what_sizes_and_times_do_not(cache: Cache) -> None:
    path = cache.entry("kind", KEY, build_with_bytecode)
    unnoticed(path / "whole")
    assert cache.holds("kind", KEY)
    assert [one.state for one in cache.entries(thorough=True)] == [State.DAMAGED]
    assert cache.discard_damaged([path / "whole"], thorough=False) == ""
    shown = cache.discard_damaged([Path("/usr/bin/env"), path / "whole", path / "half"])
    assert shown.startswith(
        f"{path} of the build cache has changed since it was built (whole has different"
    )
    assert not cache.holds("kind", KEY)


def test_a_small_entry_is_read_at_each_use(cache: Cache) -> None:
    path = cache.entry("index", KEY, Build())
    unnoticed(path / "whole")
    assert not cache.holds("index", KEY)


def test_what_was_built_again_while_it_was_used_is_no_proof_of_anything(tmp_path: Path) -> None:
    ours, theirs = Cache(tmp_path), Cache(tmp_path)
    path = ours.entry("kind", KEY, Build())
    assert ours.discard_damaged([path / "whole"]) == ""
    (path / "wsgiproof-entry.json").unlink()
    code = (
        "import sys\nfrom pathlib import Path\nfrom wsgiproof.provision.cache import Cache\n"
        f"Cache(Path(sys.argv[1])).entry('kind', {KEY!r}, lambda directory: None)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert "it was rebuilt while it was in use" in theirs.discard_damaged([path / "whole"])
    assert theirs.holds("kind", KEY)


def test_a_cache_that_was_copied_is_whole_and_read_but_once(cache: Cache, tmp_path: Path) -> None:
    """Archives keep no nanoseconds."""
    path = cache.entry("kind", KEY, build_with_bytecode)
    for file in path.iterdir():
        os.utime(file, (1, 1))
    assert cache.holds("kind", KEY)
    unnoticed(path / "whole")
    assert cache.holds("kind", KEY), "its new time is in the manifest"


def test_bytecode_of_an_interpreter_is_no_damage_to_what_is_used(cache: Cache) -> None:
    path = cache.entry("kind", KEY, build_with_bytecode)
    (path / "__pycache__" / "b.pyc").write_bytes(b"")
    (path / "python27.pyc").write_bytes(b"")
    assert cache.holds("kind", KEY)
    assert [one.state for one in cache.entries(thorough=True)] == [State.BUILT]


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "NUL": b"\0" * 4096,
    "no UTF-8": b'{"key": "\xff"}',
    "nested": b"[" * 200_000,
    "nested where it matters": b'{"files": ' * 100_000,
    "another object": b'{"key": {}, "seconds": 1, "bytes": 1}',
    "a lie": b'{"key":{},"seconds":1,"built":1,"bytes":1,"files":{"../../x\\u0000":[1,2,"y"]}}',
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_the_place_of_a_marker_is_no_entry(garbage: str, cache: Cache) -> None:
    marker = cache.entry("index", KEY, Build()) / "wsgiproof-entry.json"
    marker.write_bytes(GARBAGE[garbage])
    assert cache.entries(thorough=True)[0].state is State.DAMAGED
    build = Build()
    cache.entry("index", KEY, build)
    assert build.calls == 1
    assert cache.holds("index", KEY)


@pytest.mark.parametrize("what", ["fifo", "directory", "huge", "device"])
@pytest.mark.parametrize("place", ["kind", "entry", "marker", "file"])
def test_what_is_no_file_or_directory_of_ours_is_absent(
    place: str, what: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = cache.entry("index", KEY, Build())
    path = {
        "kind": entry.parent,
        "entry": entry,
        "marker": entry / "wsgiproof-entry.json",
        "file": entry / "whole",
    }[place]
    path.rename(cache.root.with_name("aside"))
    if what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    elif what == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    elif os.geteuid() == 0:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    else:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    assert all(one.state is not State.BUILT for one in cache.entries(thorough=True))
    build = Build()
    assert cache.entry("index", KEY, build) == entry
    assert build.calls == 1
    assert cache.holds("index", KEY)


def test_a_name_of_another_user_is_not_listed(cache: Cache) -> None:
    cache.entry("index", KEY, Build())
    (cache.root / "index" / "\udcff\x1b[2J").mkdir()
    assert len(cache.entries(thorough=True)) == 1
