"""How small a leak does wsgiproof detect, after how many requests, and how often is it wrong?

Plants leaks of many rates in real Apache and keeps the record of each cell. Then makes a table and
a plot of all records, compared with the recipe, which notices a leak when descriptors run out.

    python benchmarks/sensitivity.py measure quick --output DIR   # or bounds, rates, full, clean
    python benchmarks/sensitivity.py report DIR docs/sensitivity.md

Measuring continues where it was interrupted: a cell whose record is in DIR is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from wsgiproof.config.model import Config, Profile
from wsgiproof.records.cell import Mode
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import save
from wsgiproof.run.cell import NullWatcher, RunContext, RunningBackends, run_cell
from wsgiproof.run.planning import HostSetup, make_context, plan, preflight
from wsgiproof.run.selftest import MOD_WSGI
from wsgiproof.subjects.controls import Control
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.subject import PYMONGO
from wsgiproof.subjects.registry import DEFAULT

COUNTED = {
    "leak-connection": "connections",
    "leak-descriptor": "descriptors",
    "leak-thread": "threads",
    "lose-idle-connection": "connections",
}
"""The planted leaks of counted resources, and their checks. The last one hides in a pool."""
_TOPOLOGIES = (Topology.STANDALONE, Topology.REPLICA_SET)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One cell to measure, as often as asked; a case without a fault is clean."""

    name: str
    check: str = ""
    fault: str = ""
    options: dict[str, int | float | str] = {}
    profile: Profile = Profile.QUICK
    mode: Mode = Mode.DAEMON
    topology: Topology = Topology.STANDALONE
    python: str | None = None
    runs: int


def quick() -> Iterator[Case]:
    """The quick profile's promises."""
    for fault, check in COUNTED.items():
        yield Case(name=f"{fault}-250", check=check, fault=fault, options={"every": 250}, runs=20)
    for fault in ("leak-memory", "leak-object"):
        yield Case(name=f"{fault}-1", check="memory", fault=fault, runs=20)
    name = "leak-memory-200-bytes"
    yield Case(name=name, check="memory", fault="leak-memory", options={"size": 200}, runs=20)


def bounds() -> Iterator[Case]:
    """The rate of counted leaks that a clean cell of the quick profile excludes with 95 %."""
    for fault in ("leak-descriptor", "lose-idle-connection"):
        yield Case(
            name=f"{fault}-451-irregular",
            check=COUNTED[fault],
            fault=fault,
            options={"every": 451, "irregular": True},
            runs=20,
        )


def rates() -> Iterator[Case]:
    """Rates around them, regular and by chance."""
    for every in (1, 10, 50, 500, 1000):
        yield _connection(every, runs=5)
    for every in (100, 250, 500):
        yield _connection(every, runs=10, irregular=True)
        yield _connection(every, runs=5, irregular=True, mode=Mode.EMBEDDED)


def full() -> Iterator[Case]:
    """The full profile's promise."""
    yield _connection(5000, runs=10, profile=Profile.FULL)


def clean(pythons: list[str | None]) -> Iterator[Case]:
    """Cells in which nothing is planted: 100 of them, with two Pythons."""
    for mode, topology, python in itertools.product(Mode, _TOPOLOGIES, pythons):
        name = f"clean-{mode}-{topology}-{Path(python).name if python else 'python'}"
        runs = -(-100 // (4 * len(pythons)))
        yield Case(name=name, mode=mode, topology=topology, python=python, runs=runs)


def _connection(
    every: int,
    *,
    runs: int,
    irregular: bool = False,
    mode: Mode = Mode.DAEMON,
    profile: Profile = Profile.QUICK,
) -> Case:
    name = f"leak-connection-{every}{'-irregular' if irregular else ''}"
    return Case(
        name=name if mode is Mode.DAEMON else f"{name}-{mode}",
        check="connections",
        fault="leak-connection",
        options={"every": every, "irregular": irregular},
        mode=mode,
        profile=profile,
        runs=runs,
    )


class Bench:
    """Runs single cells one after the other, with the deployments shared between them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._sites: dict[str | None, HostSetup] = {}
        self._deployments: RunningBackends | None = None

    def run(self, case: Case) -> CellRecord:
        """The record of one cell of this case."""
        config = Config(
            axes={
                **({"python": (case.python,)} if case.python else {}),
                "mod_wsgi": (MOD_WSGI,),
                "pymongo": (PYMONGO.selftest["pymongo"],),
                "topology": (case.topology,),
                "mode": (case.mode,),
            },
            profile=case.profile,
            phases=(),  # the load alone finds leaks
            control=_plant(case),
        )
        if case.python not in self._sites:
            self._sites[case.python] = preflight(config)
        site = self._sites[case.python]
        (job,) = plan(config, site).jobs
        with tempfile.TemporaryDirectory() as directory:
            shop = make_context(site, Path(directory), NullWatcher())
            return run_cell(job, shop, self._shared(shop))

    def _shared(self, shop: RunContext) -> RunningBackends:
        if self._deployments is None:
            logs = self._stack.enter_context(tempfile.TemporaryDirectory())
            lasting = msgspec.structs.replace(shop, output=Path(logs))
            self._deployments = RunningBackends(lasting, self._stack)
        return self._deployments


def _plant(case: Case) -> str:
    """Make the case's fault a control of its own and return its name; a clean case has none."""
    if not case.fault:
        return ""
    planted = Control(
        name=case.name,
        trips=case.check,
        counterpart="",
        about=case.name,
        fault=case.fault,
        options=case.options,
    )
    DEFAULT.controls = (*DEFAULT.controls, planted)
    return case.name


def measure(cases: list[Case], output: Path) -> None:
    """Run each case as often as it asks, a round of all of them at a time."""
    output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        bench = Bench(stack)
        for number in range(max(case.runs for case in cases)):
            for case in cases:
                path = output / f"{case.name}.{number}.json"
                if number < case.runs and not path.exists():
                    record = bench.run(case)
                    save(record, path)
                    print(f"{path.name}: {record.verdict}: {record.reason}", flush=True)


def main() -> None:
    """Measure, or report what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("set", choices=["quick", "bounds", "rates", "full", "clean"])
    measuring.add_argument("--output", type=Path, required=True)
    measuring.add_argument("--python", action="append", help="for clean cells; may be repeated")
    reporting = commands.add_parser("report")
    reporting.add_argument("directory", type=Path)
    reporting.add_argument("page", type=Path)
    arguments = parser.parse_args()
    sets: dict[str, Callable[[], Iterable[Case]]] = {
        "quick": quick,
        "bounds": bounds,
        "rates": rates,
        "full": full,
    }
    if arguments.command == "measure":
        sets["clean"] = lambda: clean(arguments.python or [None])
        measure(list(sets[arguments.set]()), arguments.output)
    else:
        from sensitivity_page import Planted, write

        leaks = {
            case.name: Planted(check=case.check, every=int(case.options.get("every", 1)))
            for cases in sets.values()
            for case in cases()
        }
        write(arguments.directory, arguments.page, leaks)


if __name__ == "__main__":
    main()
