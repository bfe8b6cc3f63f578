"""The build cache: built once, never half full."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsgiproof.cache import Cache, State, default_root
from wsgiproof.errors import BuildFailed, CannotRun

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
from wsgiproof.cache import Cache

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
    answers = [builder.communicate(timeout=20)[0] for builder in builders]
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
        "import os, sys, signal\nfrom pathlib import Path\nfrom wsgiproof.cache import Cache\n"
        "def build(directory):\n"
        "    (directory / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Cache(Path(sys.argv[1])).entry('kind', {KEY!r}, build)\n"
    )
    root = tmp_path / "cache"
    killed = subprocess.run([sys.executable, "-c", code, str(root)], timeout=20, check=False)
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


def test_a_root_that_can_not_be_written_is_one_line_with_a_mend() -> None:
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
    assert default_root() == Cache().root == tmp_path.resolve()
    monkeypatch.delenv("WSGIPROOF_CACHE")
    assert default_root().name == "wsgiproof"


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
    ],
    ids=["changed", "gone", "added", "renamed"],
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


def test_nobody_has_it_to_himself_while_another_process_uses_it(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom wsgiproof.cache import Cache\n"
        f"Cache(Path(sys.argv[1])).entry('kind', {KEY!r}, lambda directory: None)\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
    )
    cache = Cache(tmp_path)
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdin is not None
        assert user.stdout.readline() == b"ready\n"
        with pytest.raises(CannotRun, match="another wsgiproof is using"), cache.to_itself():
            pass
        user.stdin.close()
    with cache.to_itself():
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
def test_a_full_or_read_only_disk_is_one_line_with_a_mend(cache: Cache, trouble: int) -> None:
    def build(directory: Path) -> None:
        raise OSError(trouble, os.strerror(trouble), "some/file")

    with pytest.raises(CannotRun, match="make room there or point WSGIPROOF_CACHE"):
        cache.entry("kind", KEY, build)
    assert cache.entries() == []
