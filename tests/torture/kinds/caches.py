"""A build cache that is damaged, or belongs to another user."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture.sandbox import Fault, Sandbox, options

WEIGHT = 9
DAMAGES = (
    "truncate mod_wsgi.so by half",
    "truncate mod_wsgi.so by one byte",
    "empty mod_wsgi.so",
    "flip bytes in mod_wsgi.so",
    "delete mod_wsgi.so",
    "truncate _cbson",
    "flip bytes in _cbson",
    "delete a module of pymongo",
    "empty a module of pymongo",
    "change a module of pymongo",
    "delete the package bson",
    "delete pyvenv.cfg",
    "break the link to python",
    "delete the marker",
    "garbage in the marker",
    "a FIFO as the marker",
    "a directory as the marker",
    "garbage in the index",
    "nested JSON in the index",
    "a FIFO in the index",
    "a link to /dev/zero in the index",
    "a FIFO as the lock in use",
    "a directory as the lock in use",
    "a FIFO as the lock of an entry",
    "a directory as the lock of an entry",
    "an entry of another user",
    "a cache of another user",
    "a cache that all may write",
    "a file as the cache",
    "an entry that is a link to the victim",
    "modes of the environment 000",
)
VARIANTS = list(DAMAGES)
_NOT_OURS = (
    "a cache that all may write",
    *(("an entry of another user", "a cache of another user") if os.geteuid() == 0 else ()),
)
_CHEAP = ("in the index", "lock in use", "the cache", "that all may write")
"""Damage to files that ``list`` reads as well."""


def missing() -> str:
    """A cache can always be damaged. Without root it can't be given to another user, and stays as
    it is."""
    return ""


def draw(variant: str, rng: random.Random) -> dict[str, Any]:
    """Choose what is damaged, where, and which command then uses it."""
    cheap = any(words in variant for words in _CHEAP) or rng.random() < 0.1
    command = rng.choice(["list", "verify", "run"]) if cheap else "run"
    return {"damage": variant, "command": command, "where": round(rng.random(), 3)}


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Damage a copy of the cache, use it, check, restore it, resume."""
    copied(box)
    damage(box.cache, details["damage"], details["where"], box.victim)
    if details["command"] == "list":
        box.quick("list", *_listed(), codes=(0, 2, 3))
        box.settle()
        return
    if details["command"] == "verify":
        box.quick("cache", "verify", codes=(0, 1, 2, 3))
        box.settle()
        return
    before = _states(box.cache)
    cell = options()
    ended = box.finish(box.start_run(cell))
    repaired = _states(box.cache) != before
    harmless = any(
        words in details["damage"] for words in ("marker", "lock", "index", "user", "all")
    )
    fault = Fault(
        details["damage"],
        may=("pass", "error") if repaired or harmless else ("error", "inconclusive"),
        codes=(2, 3),
    )
    if not box.output.exists():
        box.check_code(ended, (2, 3))
    else:
        box.check_end(ended, fault)
    box.settle()
    box.check_verdicts(fault, {})
    if details["damage"] in _NOT_OURS and "pass" in box.verdicts().values():
        box.report("harm", f"{details['damage']} was used")
    copied(box)
    box.check_show()
    box.check_resume(cell)


def copied(box: Sandbox, besides: str = "", place: Path | None = None) -> None:
    """Give the sandbox a copy of the cache, in ``place`` or in a new directory, without the entries
    of one kind and without uv's own cache."""
    source = Path(box.setup.cache)
    box.cache = place or box.root / "cache"
    if place is None and box.cache.is_dir() and not box.cache.is_symlink():
        shutil.rmtree(box.cache)
    elif place is None:
        box.cache.unlink(missing_ok=True)
    left_out = shutil.ignore_patterns("uv", *([besides, "*.lock"] if besides else []))
    shutil.copytree(source, box.cache, symlinks=True, ignore=left_out, dirs_exist_ok=True)
    box.cache.chmod(0o755)


def _listed() -> list[str]:
    return ["--mod-wsgi", "5.0.2", "--pymongo", "4.20.0", "--no-config", "--topology", "none"]


def _states(cache: Path) -> dict[str, tuple[int, int]]:
    """Return inode and size of all files that Apache loads; they differ after a rebuild."""
    found = {}
    for path in cache.rglob("*"):
        if path.suffix in (".so", ".py", ".cfg") and path.is_file():
            status = path.stat()
            found[str(path)] = (status.st_ino, status.st_size)
    return found


def damage(cache: Path, what: str, where: float, victim: Path) -> None:
    """Do one of ``DAMAGES`` to a cache."""
    for deeds in (_damage_to_files, _damage_to_marks):
        if what in (found := deeds(cache, where, victim)):
            found[what]()
            return
    raise KeyError(what)


def _damage_to_files(cache: Path, where: float, victim: Path) -> dict[str, Callable[[], object]]:
    """Return the possible damage to files that Apache loads."""
    so = next(cache.glob("mod_wsgi/*/**/mod_wsgi*.so"))
    site = next(cache.glob("environment/*/env/lib/python*/site-packages"))
    cbson = next(site.glob("bson/_cbson*.so"))
    env = site.parents[2]
    module = site / "pymongo" / "topology.py"
    if not module.exists():
        module = site / "pymongo" / "pool.py"
    return {
        "truncate mod_wsgi.so by half": lambda: os.truncate(so, so.stat().st_size // 2),
        "truncate mod_wsgi.so by one byte": lambda: os.truncate(so, so.stat().st_size - 1),
        "empty mod_wsgi.so": lambda: os.truncate(so, 0),
        "flip bytes in mod_wsgi.so": lambda: _flip(so, where),
        "delete mod_wsgi.so": so.unlink,
        "truncate _cbson": lambda: os.truncate(cbson, int(where * cbson.stat().st_size)),
        "flip bytes in _cbson": lambda: _flip(cbson, where),
        "delete a module of pymongo": (site / "pymongo/errors.py").unlink,
        "empty a module of pymongo": lambda: os.truncate(site / "pymongo/errors.py", 0),
        "change a module of pymongo": lambda: module.write_text(
            f"{module.read_text()}\nraise ImportError('a damaged module')\n"
        ),
        "delete the package bson": lambda: shutil.rmtree(site / "bson"),
        "delete pyvenv.cfg": (env / "pyvenv.cfg").unlink,
        "break the link to python": (env / "bin/python").unlink,
        "modes of the environment 000": lambda: site.chmod(0),
    }


def _damage_to_marks(cache: Path, where: float, victim: Path) -> dict[str, Callable[[], object]]:
    """Return the possible damage to wsgiproof's own files in the cache, and to their owners."""
    entry = next(path for path in cache.glob("environment/*") if path.is_dir())
    marker = entry / "wsgiproof-entry.json"
    answers = sorted(cache.glob("index/**/*.json"))
    index = answers[int(where * len(answers))]
    in_use = cache / "in-use.lock"
    lock = Path(f"{entry}.lock")
    return {
        "delete the marker": marker.unlink,
        "garbage in the marker": lambda: marker.write_bytes(b"\x00\xff{"),
        "a FIFO as the marker": lambda: os.mkfifo(_gone(marker)),
        "a directory as the marker": lambda: _gone(marker).mkdir(),
        "garbage in the index": lambda: index.write_bytes(b"\xff\x00 garbage"),
        "nested JSON in the index": lambda: index.write_text("[" * 100_000),
        "a FIFO in the index": lambda: os.mkfifo(_gone(index)),
        "a link to /dev/zero in the index": lambda: _gone(index).symlink_to("/dev/zero"),
        "a FIFO as the lock in use": lambda: os.mkfifo(_gone(in_use)),
        "a directory as the lock in use": lambda: _gone(in_use).mkdir(),
        "a FIFO as the lock of an entry": lambda: os.mkfifo(_gone(lock, marker)),
        "a directory as the lock of an entry": lambda: _gone(lock, marker).mkdir(),
        "an entry of another user": lambda: _give_away(entry),
        "a cache of another user": lambda: _give_away(cache),
        "a cache that all may write": lambda: cache.chmod(0o777),
        "a file as the cache": lambda: _gone(cache).write_text("no cache"),
        "an entry that is a link to the victim": lambda: _gone(entry).symlink_to(victim),
    }


def _gone(path: Path, *more: Path) -> Path:
    """Remove what is at these paths, and return the first."""
    for one in (path, *more):
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink(missing_ok=True)
    return path


def _flip(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    start = int(where * 0.9 * len(content))
    for place in range(start, min(start + 64, len(content))):
        content[place] ^= 0xFF
    path.write_bytes(bytes(content))


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        for one in (path, *path.rglob("*")):
            os.chown(one, 65534, 65534, follow_symlinks=False)
