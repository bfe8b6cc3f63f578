"""The build cache: built once, never half full."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsgiproof.cache import Cache, default_root
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
