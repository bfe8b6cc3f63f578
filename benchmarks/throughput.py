"""Cells an hour of a matrix with several numbers of cells at a time, and what limits it.

    python benchmarks/throughput.py [--cells 36] [--jobs 1 2 3] [--repetitions 1] [--page FILE]

The cells have all default phases: three PyMongos, three mod_wsgis, both modes, a
standalone and a replica set. With fewer ``--cells``, those are taken evenly from all of them. Each
repetition runs them with each number of jobs in turn. Writes docs/throughput.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psutil

from wsgiproof.process.leftovers import become_reaper

AXES = {
    "--pymongo": ("4.13.2", "4.18.3", "4.20.0"),
    "--mod-wsgi": ("4.9.4", "5.0.2", "6.1.1"),
    "--mode": ("daemon", "embedded"),
    "--topology": ("standalone", "replica-set"),
}
REST = "the rest"
PARTS = ("Apache and what it runs", "MongoDB", "wsgiproof and its load client", REST)
"""Where processor time goes. The rest are tools, such as those that show the stack of a process."""
PAUSE = 0.1
"""Seconds between two looks at all processes. What a process takes after the last one that saw it
belongs to the rest."""
PAGE = Path(__file__).parent.parent / "docs" / "throughput.md"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One matrix with one number of jobs."""

    jobs: int
    cells: int
    seconds: float
    cpu: dict[str, float]
    """Seconds of processor time for each of ``PARTS``."""
    verdicts: dict[str, int]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=36)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    become_reaper()
    cells = chosen(given.cells)
    measure(cells, 1, "--phases", "none", "-n", "60")  # builds and fetches what they need
    runs = []
    for _, jobs in itertools.product(range(given.repetitions), given.jobs):
        runs.append(measure(cells, jobs))
        print(msgspec.json.encode(runs[-1]).decode(), flush=True)
    given.page.write_text("\n".join(lines(runs)) + "\n")


def chosen(number: int) -> list[str]:
    """Return so many cells, as patterns of their names, taken evenly from all."""
    everything = [
        f"*-mw{mod_wsgi}-pymongo{pymongo}-{topology}-{mode}-*"
        for pymongo, mod_wsgi, mode, topology in itertools.product(*AXES.values())
    ]
    return [everything[index * len(everything) // number] for index in range(number)]


def measure(cells: Sequence[str], jobs: int, *options: str) -> Run:
    """Run these cells, so many at a time."""
    values = [(option, value) for option, given in AXES.items() for value in given]
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "out"
        command = [sys.executable, "-m", "wsgiproof", "run", "--no-config", "--jobs", str(jobs)]
        command += [*itertools.chain(*values), "--output", str(output), *options, *cells]
        before = children_cpu()
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = watch(process)
        seconds = time.monotonic() - began
        records = [
            msgspec.json.decode(one.read_bytes()) for one in output.glob("cells/*/cell.json")
        ]
    if len(records) != len(cells):
        raise SystemExit(f"{len(records)} of {len(cells)} cells were run: {' '.join(command)}")
    rest = max(0.0, children_cpu() - before - sum(seen.values()))
    return Run(
        jobs=jobs,
        cells=len(cells),
        seconds=seconds,
        cpu={part: seen[part] + (rest if part == REST else 0.0) for part in PARTS},
        verdicts=Counter(one["verdict"] for one in records),
    )


def watch(process: subprocess.Popen[bytes]) -> defaultdict[str, float]:
    """Wait until the command ends, and return the processor time of all processes below it."""
    own = psutil.Process()
    taken: dict[psutil.Process, tuple[str, float]] = {}
    while process.poll() is None:
        for one in own.children(recursive=True):
            try:
                times = one.cpu_times()
                taken[one] = (part_of(one.name(), one.cmdline()), times.user + times.system)
            except psutil.Error:
                continue
        time.sleep(PAUSE)
    total: defaultdict[str, float] = defaultdict(float)
    for part, seconds in taken.values():
        total[part] += seconds
    return total


def part_of(name: str, command: Sequence[str]) -> str:
    """Return to which of ``PARTS`` a process belongs."""
    apache, mongodb, wsgiproof, rest = PARTS
    if name in {"apache2", "httpd"}:
        return apache
    if name == "mongod":
        return mongodb
    return wsgiproof if any("wsgiproof" in word for word in command[:6]) else rest


def children_cpu() -> float:
    """Return the processor time of all processes that have ended below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def lines(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the lines of the page."""
    processors = os.cpu_count() or 1
    of_jobs = {jobs: [run for run in runs if run.jobs == jobs] for jobs in {r.jobs for r in runs}}
    cells, repetitions = runs[0].cells, len(of_jobs[runs[0].jobs])
    first = middle([run.seconds for run in of_jobs[runs[0].jobs]])
    yield from (
        "# Throughput",
        "",
        f"Cells an hour of a matrix, by how many run at a time (`--jobs`). "
        f"`benchmarks/throughput.py` writes this page: {cells} cells with all default "
        f"phases; PyMongo {', '.join(AXES['--pymongo'])}; mod_wsgi "
        f"{', '.join(AXES['--mod-wsgi'])}; both modes; a standalone and a replica set; Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}; {processors} processors; medians of "
        f"{repetitions} repetition{'s' * (repetitions > 1)}.",
        "",
        f"| jobs | seconds | against {runs[0].jobs} | cells an hour | processors in use |",
        "|---:|---:|---:|---:|---:|",
    )
    for jobs, own in sorted(of_jobs.items()):
        seconds = middle([run.seconds for run in own])
        used = middle([sum(run.cpu.values()) / run.seconds for run in own])
        yield (
            f"| {jobs} | {seconds:.0f} | {seconds / first:.2f} | {3600 * cells / seconds:.0f} | "
            f"{used:.2f} of {processors} |"
        )
    yield from (
        "",
        "Seconds of processor time for each cell:",
        "",
        f"| jobs | {' | '.join(PARTS)} | all |",
        f"|---:|{'---:|' * (len(PARTS) + 1)}",
    )
    for jobs, own in sorted(of_jobs.items()):
        parts = [middle([run.cpu[part] / cells for run in own]) for part in PARTS]
        yield f"| {jobs} | {' | '.join(f'{one:.1f}' for one in (*parts, sum(parts)))} |"
    verdicts = sum((Counter(run.verdicts) for run in runs), Counter())
    yield from (
        "",
        "- *The rest* are tools, such as those that show the stack of a process, and what a "
        f"process took after it was seen for the last time: all are looked at every {PAUSE:g} s.",
        f"- The cells ended with: {', '.join(f'{n} {what}' for what, n in verdicts.items())}.",
    )


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return float(statistics.median(values))


if __name__ == "__main__":
    main()
