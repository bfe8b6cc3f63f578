"""After how many process ends does wsgiproof find a crash that comes only sometimes?

Plants a crash at the end of a process with several probabilities, in real Apache, and compares the
ends until the first crash with what the binomial law says. One probability is that which a pass
excludes. Cells without a fault show how often there is an alarm, and what the trials cost.

    python benchmarks/process_ends.py measure --output DIR --runs 5
    python benchmarks/process_ends.py report DIR docs/process-ends.md

Measuring continues where it was interrupted: a cell whose record is in DIR is not run again.
``--only 'crash-5.2-*'`` measures some of the cases.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median

import msgspec

from wsgiproof.config.model import Config
from wsgiproof.judge.process_ends import bound_of, ends_needed, is_end, process_ends
from wsgiproof.records.cell import Mode
from wsgiproof.records.observed import Observed
from wsgiproof.records.plan import ExtraPhase, PhaseName
from wsgiproof.records.reading import read_cell
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import save
from wsgiproof.run.cell import NullWatcher, RunningBackends, run_cell
from wsgiproof.run.planning import make_context, plan, preflight
from wsgiproof.run.selftest import MOD_WSGI
from wsgiproof.subjects.controls import Control
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.subject import PYMONGO
from wsgiproof.subjects.registry import DEFAULT

_INTERPRETERS = 2
_REQUESTS = 120


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A crash with a probability at each end of a process; 0: nothing is planted."""

    one_in: float
    bound: float
    mode: Mode

    @property
    def name(self) -> str:
        """The name of its records."""
        return f"{f'crash-{self.one_in:g}' if self.one_in else 'clean'}-{self.mode}"


CASES = tuple(
    Case(one_in=one_in, bound=bound, mode=mode)
    for one_in, bound in ((0, 0.2), (2, 0.2), (5.2, 0.2), (10, 0.1), (30, 0.033))
    for mode in Mode
)
"""14 clean ends exclude one in 5.2."""


def measure(output: Path, runs: int, only: str) -> None:
    """Run each case whose name matches ``only`` so often, a round of all of them at a time."""
    output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backends: RunningBackends | None = None
        for number in range(runs):
            for case in (one for one in CASES if fnmatchcase(one.name, only)):
                path = output / f"{case.name}.{number}.json"
                if path.exists():
                    continue
                config = _config(case)
                setup = preflight(config)
                (job,) = plan(config, setup).jobs
                with tempfile.TemporaryDirectory() as directory:
                    context = make_context(setup, Path(directory), NullWatcher())
                    backends = backends or RunningBackends(
                        msgspec.structs.replace(context, output=logs), stack
                    )
                    record = run_cell(job, context, backends)
                save(record, path)
                print(f"{path.name}: {record.verdict}: {record.reason}", flush=True)


def _config(case: Case) -> Config:
    return Config(
        axes={
            "mod_wsgi": (MOD_WSGI,),
            "pymongo": (PYMONGO.selftest["pymongo"],),
            "topology": (Topology.STANDALONE,),
            "mode": (case.mode,),
        },
        sub_interpreters=_INTERPRETERS,
        requests=_REQUESTS,
        phases=(ExtraPhase.TRIALS,),
        crash_bound=case.bound,
        control=_plant(case),
    )


def _plant(case: Case) -> str:
    """Make the case's crash a control of its own and return its name; a clean case has none."""
    if not case.one_in:
        return ""
    known = {one.name for one in DEFAULT.controls}
    if case.name not in known:
        # Each interpreter decides for itself, and one is enough.
        each = 1 - (1 - 1 / case.one_in) ** (1 / _INTERPRETERS)
        planted = Control(
            name=case.name,
            trips="crash",
            counterpart="",
            about=case.name,
            fault="crash-at-exit",
            options={"probability": each},
        )
        DEFAULT.controls = (*DEFAULT.controls, planted)
    return case.name


def report(directory: Path, page: Path) -> None:
    """Write the page from all records in ``directory``."""
    records: defaultdict[str, list[CellRecord]] = defaultdict(list)
    for path in sorted(directory.glob("*.json")):
        records[path.name.rsplit(".", 2)[0]].append(read_cell(path))
    page.write_text("\n".join(_page(records)) + "\n")


def _page(records: dict[str, list[CellRecord]]) -> Iterator[str]:
    shown = (2, 5, 14, 29, 59, 299)
    yield from (
        "# Crashes at the end of a process",
        "",
        "After how many ends of a process wsgiproof finds a crash that comes only sometimes, what "
        "a pass excludes, and what the [trials](phases.md#trials) cost. "
        "`benchmarks/process_ends.py report` writes this page from cells in real Apache with a "
        f"real mongod, mod_wsgi {MOD_WSGI} and PyMongo {PYMONGO.selftest['pymongo']}.",
        "",
        "A pass excludes a probability with 95 %:",
        "",
        f"| ends | {' | '.join(map(str, shown))} |",
        f"|---|{'---:|' * len(shown)}",
        f"| excluded | {' | '.join(f'{100 * bound_of(ends):.1f} %' for ends in shown)} |",
        "",
        "*Ends to the first crash* is the median of all cells. By the binomial law, a cell of n "
        "ends has a crash with a probability of 1 - (1 - p)^n, and half of all cells have had one "
        "after ln 2 / -ln(1 - p) ends. One in 5.2 is what a pass of 14 ends excludes. "
        "A process that crashes ends before those that end together with it, so that the first "
        "crash is often the first end of its time.",
        "",
        "| planted | ends of a cell | cells with a crash | by the law | ends to the first crash | "
        "by the law | seconds of the trials, each end |",
        "|---|---:|---:|---:|---:|---:|---:|",
    )
    for case in CASES:
        cells = [one.observed for one in records.get(case.name, ()) if one.observed is not None]
        if cells:
            yield _line(case, cells)


def _line(case: Case, cells: Sequence[Observed]) -> str:
    needed = ends_needed(case.bound)
    planted, share, law = "nothing", "none", "-"
    if case.one_in:
        clean = 1 - 1 / case.one_in
        planted, share = f"one in {case.one_in:g}", f"{100 * (1 - clean**needed):.0f} %"
        law = f"{math.log(2) / -math.log(clean):.1f}"
    first = [_ends_to_first(one) for one in cells]
    middle = median(first)
    return (
        f"| {planted}, {case.mode} | {needed} | {sum(map(math.isfinite, first))} of {len(cells)} | "
        f"{share} | {f'{middle:g}' if math.isfinite(middle) else '-'} | {law} | "
        f"{median(map(_seconds_each, cells)):.2f} |"
    )


def _ends_to_first(observed: Observed) -> float:
    """Return how many processes ended up to the first that crashed; infinite if none did."""
    crashed = set(process_ends(observed).crashed)
    for number, death in enumerate((one for one in observed.events if is_end(observed, one)), 1):
        if death.pid in crashed:
            return number
    return math.inf


def _seconds_each(observed: Observed) -> float:
    """Return the seconds of phase ``trials`` for each process that was started in it."""
    seconds = sum(one.seconds for one in observed.phases if one.name == PhaseName.TRIALS)
    processes, _ = observed.workers
    return seconds / max(1, process_ends(observed).total - processes)


def main() -> None:
    """Measure, or report what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--output", type=Path, required=True)
    measuring.add_argument("--runs", type=int, default=5)
    measuring.add_argument("--only", default="*")
    reporting = commands.add_parser("report")
    reporting.add_argument("directory", type=Path)
    reporting.add_argument("page", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments.output, arguments.runs, arguments.only)
    else:
        report(arguments.directory, arguments.page)


if __name__ == "__main__":
    main()
