"""A root with Debian unstable, whose Pythons are newer than those of a stable release.

Whatever runs in the root has a mount namespace and a process namespace of its own. So nothing is
ever mounted for the rest of this machine, and the kernel ends all of its processes with the one
that started them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.debian import ALONE, BUNDLE, authorities, index_environment, make_debian, output

CHECKOUT = Path(__file__).parents[2]
DIRECTORY = Path("/var/cache/wsgiproof-debian")
"""It is kept for the next time, since making a root takes minutes."""
SUITE = "unstable"
PYTHONS = ("3.14", "3.15")
PACKAGES = [
    "ca-certificates",
    "gdb",
    *(f"python{version}{part}" for version in PYTHONS for part in ("", "-dev", "-venv")),
]
"""What ``scripts/setup`` does not install by itself."""
INSIDE = "/opt/wsgiproof"
"""Where the checkout is in the root."""
_WAIT = '"$@"; exit $?'
"""For a shell that waits for all orphans, as the first process of a namespace has to."""
_REPLACE = """
mkdir -p "$1" && cd "$1" &&
find . -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -r {} + &&
exec tar --extract
"""


class Root:
    """A root directory with a checkout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {
            **index_environment(),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }

    def command(self, *words: str, directory: str = INSIDE) -> list[str]:
        """The command line that runs ``words`` in a directory of the root."""
        where = [f"--root={self.path}", f"--wd={directory}"]
        return [*ALONE, *where, "sh", "-c", _WAIT, "sh", *words]

    def run(self, *words: str, directory: str = INSIDE, content: bytes = b"") -> int:
        """Run ``words`` with this standard input, show what they print, return the exit code."""
        command = self.command(*words, directory=directory)
        return subprocess.run(command, env=self.env, input=content, check=False).returncode

    def set_up(self) -> None:
        """Bring the checkout as it is now, and have it install what it needs."""
        for target, source in ((BUNDLE, authorities()), ("/etc/resolv.conf", "/etc/resolv.conf")):
            self._write("cat > $1", target, Path(source).read_bytes())
        self._write(_REPLACE, INSIDE, _checkout())
        assert self.run("scripts/setup") == 0

    def _write(self, script: str, target: str, content: bytes) -> None:
        """Write to the root by a process that is in it: no link there leads out of it."""
        assert self.run("sh", "-c", script, "sh", target, directory="/", content=content) == 0


def _checkout() -> bytes:
    """An archive of the files of this checkout, also of those that are not committed yet."""
    listed = output("git", "-C", str(CHECKOUT), "ls-files", "--cached", "--others", "-z",
                     "--exclude-standard")  # fmt: skip
    names = [name for name in listed.split("\0") if name and os.path.lexists(CHECKOUT / name)]
    done = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"],
        cwd=CHECKOUT, input="\0".join(names).encode(), check=True, capture_output=True,
    )  # fmt: skip
    return done.stdout


@contextmanager
def debian() -> Iterator[Root]:
    """The root, made if there is none with these packages; a second run waits for the first."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    found = DIRECTORY.lstat()
    assert stat.S_ISDIR(found.st_mode), DIRECTORY
    assert (found.st_uid, found.st_mode & 0o077) == (0, 0), DIRECTORY
    with (DIRECTORY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(" ".join([SUITE, *PACKAGES]).encode()).hexdigest()[:16]
        path = DIRECTORY / f"{SUITE}-{wanted}"
        if not path.exists():
            _make(path)
        root = Root(path)
        root.set_up()
        yield root


def _make(path: Path) -> None:
    """Make a root. Those with other packages are removed, and what an interrupted run has left."""
    for other in DIRECTORY.iterdir():
        if other.is_dir():
            shutil.rmtree(other)
    unfinished = path.with_suffix(".unfinished")
    make_debian(SUITE, unfinished, PACKAGES)
    unfinished.rename(path)
