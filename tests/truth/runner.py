"""Running the cases through the real command, and removing what their bugs leave behind."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import msgspec

from tests.truth.cases import Case, command
from tests.truth.compare import Comparison, Result, Seen, compare

ROOT = Path(__file__).parents[2]
_LONGEST = 1200.0
"""Seconds that one run may take, with its builds."""
_PREFIX = "wsgiproof-truth-"
"""How the names of all files begin that the applications leave."""
_KEYS = range(0x57470000, 0x57480000)
"""Keys of System V segments and semaphores that the applications leave."""
_REMOVE = 0
_PLACES = frozenset({Path(tempfile.gettempdir()), Path("/tmp"), Path("/dev/shm")})


class _Results(msgspec.Struct):
    """``results.json``, as far as it is needed."""

    cells: tuple[Seen, ...] = ()


class Run(msgspec.Struct, frozen=True):
    """One run of one case: where its results are, and what each of its cells came to."""

    case: Case
    directory: Path
    comparisons: tuple[Comparison, ...]


def run_all(
    cases: Sequence[Case], output: Path, jobs: int, runs: int, *, keep: bool = False
) -> Iterator[Run]:
    """Run each case ``runs`` times, ``jobs`` at the same time; give each run as it ends.

    All cells of an application are one process. The directory of a run that is as it should be is
    removed, unless all are to be kept.
    """
    output.mkdir(parents=True)
    coming = iter([(case, number) for number in range(1, runs + 1) for case in cases])
    waiting: set[Future[Run]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            while len(waiting) < jobs and (one := next(coming, None)) is not None:
                case, number = one
                directory = output / f"{case.folder}-{case.name}-{number}"
                waiting.add(pool.submit(run_one, case, directory))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for run in (future.result() for future in done):
                if not keep and all(one.right for one in run.comparisons):
                    shutil.rmtree(run.directory, ignore_errors=True)
                yield run


def run_one(case: Case, directory: Path) -> Run:
    """Run ``case`` and compare each of its cells; what the command printed is in ``output.txt``."""
    directory.mkdir()
    results = directory / "results"
    with (directory / "output.txt").open("wb") as printed:
        try:
            code = subprocess.run(
                [sys.executable, "-m", "wsgiproof", *command(case, results)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=_LONGEST,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    return Run(case, directory, read(case, results / "results.json", code))


def read(case: Case, results: Path, code: int) -> tuple[Comparison, ...]:
    """Compare each cell that ``results`` holds of a run that ended with exit code ``code``."""
    try:
        cells = msgspec.json.decode(results.read_bytes(), type=_Results).cells
    except (OSError, msgspec.MsgspecError) as error:
        cells = ()
        why = f"exit code {code}, no results: {error}"
    else:
        why = f"exit code {code}, no cell was run"
    if not cells:
        return (Comparison(Result.BROKEN, False, (why,)),)
    return tuple(compare(case, cell) for cell in cells)


def sweep(since: float, places: Iterable[Path] = _PLACES, keys: range = _KEYS) -> int:
    """Remove what the applications have left since then (seconds of the epoch), and count it."""
    removed = 0
    for place in places:
        for pattern in (f"{_PREFIX}*", f"sem.{_PREFIX}*"):
            for path in place.glob(pattern):
                with suppress(OSError):
                    if path.lstat().st_ctime < since:
                        continue
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                    removed += 1
    libc = ctypes.CDLL(None)
    for number in left("shm", since, keys):
        removed += int(libc.shmctl(number, _REMOVE, None) == 0)
    for number in left("sem", since, keys):
        removed += int(libc.semctl(number, 0, _REMOVE) == 0)
    return removed


def left(kind: str, since: float, keys: range = _KEYS) -> list[int]:
    """Return the ids of System V ``shm`` segments or ``sem`` sets that were made since then."""
    try:
        lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
    except OSError:
        return []
    names = lines[0].split()
    found = []
    for line in lines[1:]:
        entry = dict(zip(names, map(int, line.split()), strict=False))
        if entry["key"] in keys and entry["ctime"] >= since - 1:
            found.append(entry[f"{kind}id"])
    return found
