"""Real Apache, real mod_wsgi, real mongod, real PyMongo; nothing is faked here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from tests.cells import configured
from wsgiproof.records.cell import Cell, InterpreterKind, Mode, Mpm
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.records.run import CellRecord
from wsgiproof.run.cell import NullWatcher, RunningBackends, run_cell
from wsgiproof.run.planning import make_context, plan, preflight
from wsgiproof.server.ports import free_port
from wsgiproof.subjects.pymongo.axes import Topology

PYMONGO = "4.20.0"
MENDED = "4.15.3"
"""The PyMongo that mended a leak of the one before it."""
KNOWN_GOOD = "5.0.2"
"""A mod_wsgi on which PyMongo has nothing to be found."""
CRASHING = "6.1.1"
"""A mod_wsgi on which PyMongo's processes die while Apache stops."""
QUIET = 3.0
"""Seconds without a request, where a phase has some."""
OUTAGE = 1.0
"""Seconds that members are gone or paused where the phase failover was asked for."""


class Watching(NullWatcher):
    """Tells a function the phase of the cell."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told

    def watch(self, cell: Cell, phase: str, done: int, total: int) -> None:
        """So many of a phase's requests are done."""
        self._told(phase)


class Bench:
    """Runs single cells, with the deployments shared between them."""

    def __init__(self, output: Path, stack: ExitStack) -> None:
        self._output = output
        self._number = 0
        self._site = preflight(
            configured(mod_wsgi=(KNOWN_GOOD, CRASHING), pymongo=(PYMONGO, MENDED))
        )
        self._deployments = RunningBackends(make_context(self._site, output, NullWatcher()), stack)

    def run(
        self,
        *,
        mod_wsgi: str = KNOWN_GOOD,
        pymongo: str = PYMONGO,
        topology: Topology = Topology.STANDALONE,
        mode: Mode = Mode.DAEMON,
        mpm: Mpm = Mpm.PREFORK,
        interpreter: InterpreterKind = InterpreterKind.SHARED_GIL,
        sub_interpreters: int = 2,
        axes: Mapping[str, str] = {},
        control: str = "",
        app: Path | None = None,
        expect_status: tuple[int, ...] = (),
        expect_body: str = "",
        requests: int = 120,
        max_seconds: float | None = None,
        max_file_growth: float | None = None,
        phases: tuple[ExtraPhase, ...] = (),
        crash_bound: float | None = None,
        ports: Iterable[int] = (),
        watch: Callable[[str], None] = lambda phase: None,
        start_deadline: float = 30.0,
    ) -> CellRecord:
        """Run one cell; ``axes`` are values of others. ``ports`` are tried first, and then ports
        that are free. ``watch`` is told the phase whenever that has come further."""
        config = configured(
            mod_wsgi=(mod_wsgi,),
            pymongo=(pymongo,),
            topology=(topology,),
            mode=(mode,),
            mpm=(mpm,),
            interpreter=(interpreter,),
            sub_interpreters=sub_interpreters,
            control=control,
            app=str(app or ""),
            expect_status=expect_status,
            expect_body=expect_body,
            requests=requests,
            max_seconds=max_seconds,
            max_file_growth=max_file_growth,
            phases=phases,
            crash_bound=crash_bound,
            idle_seconds=QUIET,
            fault_seconds=OUTAGE,
            **{axis: (value,) for axis, value in axes.items()},
        )
        (job,) = plan(config, self._site).jobs
        asked = msgspec.structs.replace(job.plan, start_deadline=start_deadline)
        job = msgspec.structs.replace(job, plan=asked)
        self._number += 1
        output = self._output / str(self._number)
        output.mkdir()
        tried = iter(ports)
        context = msgspec.structs.replace(
            make_context(self._site, output, Watching(watch)),
            choose_port=lambda: next(tried, None) or free_port(),
        )
        return run_cell(job, context, self._deployments)

    def file(self, record: CellRecord, name: str) -> Path:
        """A file that the latest cell left behind."""
        return self._output / str(self._number) / record.directory / name


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(tmp_path_factory.mktemp("bench"), stack)
