"""The proof that the judge can be trusted: every planted fault, and every clean twin, for real."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing

import msgspec

from wsgiproof.cell import Topology
from wsgiproof.config import Config
from wsgiproof.judge.finding import Check
from wsgiproof.judge.trial import Trial
from wsgiproof.judge.verdict import judge
from wsgiproof.matrix import Matrix
from wsgiproof.needs import slots
from wsgiproof.planning import Planned, Site, make_shop, plan, survey
from wsgiproof.records import CellRecord, Verdict
from wsgiproof.results import Results, make_output
from wsgiproof.run import begin
from wsgiproof.runner import Job, Progress
from wsgiproof.subjects.controls import CONTROLS, Control
from wsgiproof.workers import run_jobs

MOD_WSGI = "5.0.2"
PYMONGO = "4.20.0"
"""A pair on which nothing is to be found unless it was planted: docs/findings.md has others."""

_REQUEST_DEADLINE = 8.0
"""Seconds: hangs are waited for in several controls, and no twin takes longer than half a one."""
_START_DEADLINE = 12.0
"""Seconds: no twin takes longer than one and a half to load."""
_RESTART_DEADLINE = 5.0
_STOP_DEADLINE = 8.0
"""Seconds: no twin takes longer than half a one to go, and Apache kills what is left after 3."""
_QUIET = 8.0
_OUTAGE = 1.0
_RECOVERY_DEADLINE = 8.0
"""Seconds: no twin takes longer than half a second beyond what PyMongo takes."""
_SETTLE_DEADLINE = 6.0
"""Seconds: for what has leaked; the counts of a standalone are back at once."""


def select(names: Collection[str]) -> tuple[Control, ...]:
    """The controls of these names, in their own order; all if none is named."""
    return tuple(control for control in CONTROLS.values() if not names or control.name in names)


def selftest(
    controls: Sequence[Control], config: Config, command: str, progress: Progress
) -> Iterator[Trial]:
    """Run each control in real Apache with a real mongod, and give what became of it.

    The records are in the output directory as those of a run are, and can be judged again. Raises
    a :class:`wsgiproof.errors.WsgiproofError` before anything is started if it can't be done.
    """
    config = msgspec.structs.replace(
        config,
        mod_wsgi=config.mod_wsgi or (MOD_WSGI,),
        pymongo=config.pymongo or (PYMONGO,),
        topology=(Topology.STANDALONE,),
    )
    site = survey(config)
    planned = _plan(controls, config, site)
    output = make_output(config.directory)
    number = slots(config)
    results = Results(begin(command, site, planned), output)
    progress.begin([job.cell for job in planned.jobs], output, number)
    shop = make_shop(site, output, progress)
    with closing(run_jobs(planned.jobs, shop, number, progress)) as records:
        for record in records:
            results.add(record)
            yield trial(CONTROLS[record.cell.control], record)
    results.finish()


def trial(control: Control, record: CellRecord, checks: Mapping[str, Check] | None = None) -> Trial:
    """What became of a control, by what was recorded of it and these checks, or else all."""
    if record.observed is None:
        return Trial(
            control=control.name,
            meant=control.trips,
            verdict=record.verdict,
            reason=record.reason,
        )
    judgement = judge(record.cell, record.observed, checks)
    failing = [one.check for one in judgement.checks if one.verdict is Verdict.FAIL]
    return Trial(
        control=control.name,
        meant=control.trips,
        verdict=judgement.verdict,
        failing=tuple(failing),
        reason="; ".join(
            f"{one.check}: {one.reason}"
            for one in judgement.checks
            if one.verdict is judgement.verdict
        ),
    )


def _plan(controls: Sequence[Control], config: Config, site: Site) -> Planned:
    """The cells of all controls, in their order."""
    planned = [plan(_planted(control, config), site) for control in controls]
    return Planned(
        matrix=Matrix(
            cells=tuple(cell for one in planned for cell in one.matrix.cells),
            parts={name: parts for one in planned for name, parts in one.matrix.parts.items()},
        ),
        jobs=tuple(_impatient(job) for one in planned for job in one.jobs),
    )


def _planted(control: Control, config: Config) -> Config:
    """The configuration in which this control is the one cell."""
    return msgspec.structs.replace(
        config,
        mode=control.modes[:1],
        requests=control.requests,
        maximum_requests=control.maximum_requests,
        phases=control.phases,
        quiet=_QUIET,
        outage=_OUTAGE,
        control=control.name,
    )


def _impatient(job: Job) -> Job:
    plan = msgspec.structs.replace(
        job.plan,
        request_deadline=_REQUEST_DEADLINE,
        start_deadline=_START_DEADLINE,
        recovery_deadline=_RECOVERY_DEADLINE,
        settle_deadline=_SETTLE_DEADLINE,
        restart_deadline=_RESTART_DEADLINE,
        stop_deadline=_STOP_DEADLINE,
    )
    return msgspec.structs.replace(job, plan=plan)
