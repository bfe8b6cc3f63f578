"""Tests the judge: runs every planted fault and every negative control in real Apache."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from importlib.util import find_spec

import msgspec

from wsgiproof.config.matrix import Matrix
from wsgiproof.config.model import Config
from wsgiproof.errors import UsageError, did_you_mean
from wsgiproof.judge.control_result import ControlResult
from wsgiproof.judge.finding import Check
from wsgiproof.judge.known import whose_crash
from wsgiproof.judge.verdict import Judgement, judge
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import CellRecord
from wsgiproof.records.writing import Results, make_output
from wsgiproof.run.cell import Job, Progress
from wsgiproof.run.executors.base import run_jobs
from wsgiproof.run.executors.workers import local_executor
from wsgiproof.run.planning import HostSetup, RunPlan, make_context, plan, preflight
from wsgiproof.run.preflight import slots
from wsgiproof.run.session import begin
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.controls import Control
from wsgiproof.subjects.registry import SUBJECTS, rules_of, subject_of

MOD_WSGI = "5.0.2"
"""A version without findings of its own; docs/findings.md lists some that have."""

_REQUEST_DEADLINE = 8.0
"""Seconds. Several controls hang until it is over; no negative control takes more than half a
second."""
_START_DEADLINE = 30.0
"""Seconds. No negative control takes more than three to load, but a busy machine takes ten."""
_RESTART_DEADLINE = 15.0
_STOP_DEADLINE = 8.0
"""Seconds. No negative control takes more than half a second to end; Apache kills the rest after
three."""
_IDLE_SECONDS = 8.0
_FAULT_SECONDS = 1.0
_RECOVERY_DEADLINE = 15.0
"""Seconds. No negative control takes more than half a second longer than the subject itself."""
_SETTLE_DEADLINE = 15.0
"""Seconds. Counts fall at once, but for the socket with which PyMongo measures the round trip time
of a server: it is used every 10 seconds, and closed only then."""


def select(
    subject: Subject, only: Collection[str], *, together: bool = False
) -> tuple[Control, ...]:
    """Return the controls whose name matches one of these globs, in the order of the list.

    Without a glob, these are all controls, each alone; or ``together``, with one control in the
    place of those that it combines. Raises :class:`UsageError` if a glob matches none.
    """
    controls = subject.every_control().values()
    for pattern in only:
        if not any(fnmatchcase(control.name, pattern) for control in controls):
            near = did_you_mean(pattern, [control.name for control in controls])
            raise UsageError(
                f"no control of {subject.name} matches '{pattern}'{near or '.'} "
                "--list shows their names"
            )
    if only:
        return tuple(
            control
            for control in controls
            if any(fnmatchcase(control.name, pattern) for pattern in only)
        )
    combined = {name for control in controls for name in control.parts}
    if together:
        return tuple(control for control in controls if control.name not in combined)
    return tuple(control for control in controls if control.planted == (control.name,))


def lacking(controls: Sequence[Control]) -> tuple[Control, ...]:
    """Return those that can't run here, since the extra that they need is not installed."""
    return tuple(one for one in controls if one.module and find_spec(one.module) is None)


def selftest(
    controls: Sequence[Control], config: Config, command: str, progress: Progress
) -> Iterator[ControlResult]:
    """Run each control in real Apache with a real backend, and yield its result, or those of the
    faults that it combines.

    The output directory has the same records as that of a run, and they can be judged again. Raises
    :class:`wsgiproof.errors.WsgiproofError` before anything is started if the controls can't run.
    """
    usual = {"mod_wsgi": MOD_WSGI, **SUBJECTS[config.subject].selftest}
    config = config.with_axes(
        **{axis: config.axes.get(axis, (value,)) for axis, value in usual.items()}
    )
    setup = preflight(config)
    planned = _plan(controls, config, setup)
    output = make_output(config.directory)
    number = slots(config)
    by_name = {control.name: control for control in controls}
    results = Results(begin(command, setup, planned), output)
    progress.begin([job.cell for job in planned.jobs], output, number)
    context = make_context(setup, output, progress)
    executor = local_executor(context, number, len(planned.jobs), progress)
    with closing(run_jobs(planned.jobs, executor)) as records:
        for record in records:
            results.add(record)
            yield from control_results(by_name[record.cell.control], record)
    results.finish()


def control_results(
    control: Control, record: CellRecord, checks: Mapping[str, Check] | None = None
) -> list[ControlResult]:
    """Judge the record of a control by these checks (default: all), and return its result, or that
    of each fault that it combines."""
    every = subject_of(record.cell).every_control()
    planted = [every[name] for name in control.planted]
    if record.observed is None:
        return [
            ControlResult(
                control=one.name, meant=one.trips, verdict=record.verdict, reason=record.reason
            )
            for one in planted
        ]
    rules = rules_of(record.cell)
    judgement = judge(record.cell, record.observed, rules, checks)
    upstream = whose_crash(judgement.findings, record.observed, rules)
    return [_result(one, judgement, upstream) for one in planted]


def _result(control: Control, judgement: Judgement, upstream: str) -> ControlResult:
    failing = [one.check for one in judgement.checks if one.verdict is Verdict.FAIL]
    return ControlResult(
        control=control.name,
        meant=control.trips,
        verdict=judgement.verdict,
        failing=tuple(failing),
        reason="; ".join(
            f"{one.check}: {one.reason}"
            for one in judgement.checks
            if one.verdict is judgement.verdict
        ),
        upstream=upstream,
    )


def _plan(controls: Sequence[Control], config: Config, setup: HostSetup) -> RunPlan:
    """Return the plan with the cells of all controls, in their order."""
    planned = [plan(_control_config(control, config), setup) for control in controls]
    return RunPlan(
        matrix=Matrix(
            cells=tuple(cell for one in planned for cell in one.matrix.cells),
            specs={name: spec for one in planned for name, spec in one.matrix.specs.items()},
        ),
        jobs=tuple(_with_short_deadlines(job) for one in planned for job in one.jobs),
    )


def _control_config(control: Control, config: Config) -> Config:
    """Return the configuration in which this control is the only cell."""
    return msgspec.structs.replace(
        config.with_axes(
            mode=control.modes[:1], **{axis: (value,) for axis, value in control.axes.items()}
        ),
        requests=control.requests,
        **control.configuration,
        phases=control.phases,
        idle_seconds=_IDLE_SECONDS,
        fault_seconds=_FAULT_SECONDS,
        control=control.name,
    )


def _with_short_deadlines(job: Job) -> Job:
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
