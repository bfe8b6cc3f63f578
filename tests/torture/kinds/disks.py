"""Full, filling and read-only disks for the results, TMPDIR and the cache."""

from __future__ import annotations

import os
import random
import resource
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.torture.kinds.caches import copied
from tests.torture.sandbox import Fault, Sandbox, options
from tests.torture.striking import draw_moment, wait_for

WEIGHT = 9
FILLER = "filler"
_MOUNTED = [
    *((where, "small", size) for where in ("o", "t") for size in ("64k", "256k", "1m", "4m")),
    *(("cache", "small", size) for size in ("64k", "2m")),
    *((where, "fills", "48m") for where in ("o", "t", "o", "t", "cache")),
    *((where, "read-only", "48m") for where in ("o", "t", "cache", "w")),
    *((where, "becomes read-only", "48m") for where in ("o", "t", "cache")),
]
_BYTES = {"64k": 1 << 16, "2m": 2 << 20, "48m": 48 << 20}
_LIMITED = [("all", "file size", size) for size in ("0", "4096", "65536", "1000000")]
VARIANTS = [*(_MOUNTED if os.geteuid() == 0 else []), *_LIMITED]


def missing() -> str:
    """Without root nothing can be mounted; a file size limit replaces it."""
    return ""


def draw(variant: tuple[str, str, str], rng: random.Random) -> dict[str, Any]:
    """Choose the disk, its size, and the moment."""
    where, how, size = variant
    topology = "standalone" if how == "file size" and rng.random() < 0.3 else "none"
    return {
        "where": where,
        "how": how,
        "size": size,
        "topology": topology,
        "moment": draw_moment(rng),
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Run on such a disk, check, make room, resume."""
    where, how, size = details["where"], details["how"], details["size"]
    cell = options(details["topology"])
    fault = Fault(f"{how} {where} ({size})", codes=(2, 3))
    if how == "file size":
        run = box.start_run(cell, prepare=lambda: _limit(int(size)))
    else:
        place = _mount(box, where, size, read_only=how == "read-only")
        run = box.start_run(cell)
        if how in ("fills", "becomes read-only") and wait_for(details["moment"], run, box):
            box.note(f"{how} in {run.phase!r}")
            _spoil(place, how)
    ended = box.finish(run)
    with suppress(OSError):  # there is none, or the disk is read-only
        (box.root / where / FILLER).unlink()
    if (box.output / "results.json").is_file():
        box.check_end(ended, fault)
    else:
        box.check_code(ended, (2, 3))
    # Nothing can be removed from a read-only disk, so the next start has to do it.
    box.settle(directories=not (where == "t" and "read-only" in how))
    box.check_verdicts(fault, {})
    _heal(box, where, how)
    box.check_show()
    box.check_resume(cell)


def _mount(box: Sandbox, where: str, size: str, *, read_only: bool) -> Path:
    place = box.root / where
    if where == "cache":
        # Room for the copy, and so much more.
        kept = [one for one in Path(box.setup.cache).iterdir() if one.name != "uv"]
        files = (file for one in kept for file in (one, *one.rglob("*")))
        used = sum(file.lstat().st_blocks for file in files) * 512
        _mounted(place, str(used + _BYTES[size]))
        copied(box, place=place)
    else:
        mode = {"o": "0700", "t": "0711", "w": "0755"}[where]
        _mounted(place, size, mode)
    if read_only:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    return place


def _mounted(place: Path, size: str, mode: str = "0755") -> None:
    place.mkdir(exist_ok=True)
    kind = ["-t", "tmpfs", "-o", f"size={size},mode={mode}", "tmpfs"]
    subprocess.run(["mount", *kind, str(place)], check=True)


def _spoil(place: Path, how: str) -> None:
    """Fill the disk completely, or make it read-only."""
    if how != "fills":
        # This fails while a file is open for writing; the disk is filled then.
        done = subprocess.run(["mount", "-o", "remount,ro", str(place)], check=False)
        if done.returncode == 0:
            return
    with (place / FILLER).open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))


def _heal(box: Sandbox, where: str, how: str) -> None:
    if how == "file size":
        return
    place = box.root / where
    if where == "cache":
        subprocess.run(["umount", "-l", str(place)], check=True)
        copied(box)
    else:
        subprocess.run(["mount", "-o", "remount,rw,size=150m", str(place)], check=True)


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
