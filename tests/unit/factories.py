"""Invented records: a clean one, and small changes to it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from tests.cells import CELL
from wsgiproof.judge.verdict import checks_of, every_check, judge
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import (
    Event,
    Failure,
    Identity,
    LogLine,
    MemorySample,
    Observed,
    Phase,
    ProcessSample,
    Role,
    Sample,
    Stop,
    Work,
)
from wsgiproof.records.plan import LoadPlan, PhaseName
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.subjects.registry import DEFAULT

RULES = DEFAULT.rules
RESOURCES = RULES.counted
ALL_CHECKS = (*every_check(RULES),)
"""The name of every check."""
URLS = ("http://127.0.0.1:8080/interpreter1", "http://127.0.0.1:8080/interpreter2")
PARENT, WORKER, FRONTEND = 100, 200, 300
ROUND = 125
PHASES = (
    PhaseName.WARM_UP,
    *[PhaseName.PARALLEL] * 20,
    *[PhaseName.SERIAL] * 4,
    PhaseName.COOL_DOWN,
)
"""The phase of each sample of a quick run."""
POINTS = len(PHASES)
SESSIONS = 32
COUNTS: dict[str, int | None] = {
    "connections": 28,
    "cursors": 0,
    "sessions": SESSIONS,
    "closed clients": 0,
    "children": 0,
    "files": 2,
    "bytes": 8192,
    "files elsewhere": 5,
    "segments": 0,
    "shared files": 0,
    "semaphores": 0,
    "queues": 0,
    "collections": 1,
    "views": 0,
    "indexes": 1,
}
WORKERS = (1, 15)
CHECKS = (*checks_of(LoadPlan(parallel=1, serial=1, connections=1, round=1), RULES),)
"""The names of the checks of a cell without optional phases."""


SUBJECT: dict[str, str | int | bool | None] = {
    "version": CELL.value("pymongo"),
    "path": "/env/lib/python3.12/site-packages/pymongo/__init__.py",
    "bson_has_c": True,
    "pymongo_has_c": True,
    "extras": "",
    "verifies_tls": None,
}


def identity(url: int = 1, pid: int = WORKER, **changes: Any) -> Identity:
    """What the interpreter behind URL number ``url`` says of itself, as the cell declares it."""
    told = Identity(
        url=URLS[url - 1],
        pid=pid,
        token=f"token-{pid}-{url}",
        application_group=f"interpreter{url}",
        process_group="subject",
        python=CELL.python,
        mod_wsgi=CELL.mod_wsgi,
        subject=SUBJECT,
        mpm="prefork",
        gil_enabled=True,
        gil="shared",
        interpreter_id=url,
        prefix="/env",
        answers=1600,
        threads=15,
    )
    return msgspec.structs.replace(told, **changes)


def used(*pids: int) -> tuple[Identity, ...]:
    """What the interpreters say of themselves, each of which was used in the usual worker and in
    these processes."""
    return tuple(identity(url, pid) for pid in (WORKER, *pids) for url in (1, 2))


def reading(
    pid: int = WORKER,
    *,
    role: Role = Role.WORKER,
    descriptors: int | None = 38,
    threads: int | None = 25,
    connections: int | None = 26,
) -> ProcessSample:
    return ProcessSample(
        pid=pid, role=role, descriptors=descriptors, threads=threads, connections=connections
    )


def samples(
    readings: Sequence[Sequence[ProcessSample]],
    server: Sequence[int | None] | None = None,
    **counts: Sequence[int | None],
) -> tuple[Sample, ...]:
    """One sample for each element of ``readings``, a round of requests apart.

    ``server`` are the deployment's counts of connections, ``cursors`` and ``sessions`` the others.
    """
    return tuple(
        sample(
            number,
            processes,
            counted={
                "connections": 28 if server is None else server[number],
                **{name: values[number] for name, values in counts.items()},
            },
        )
        for number, processes in enumerate(readings)
    )


def sample(
    number: int,
    processes: Sequence[ProcessSample],
    counted: Mapping[str, int | None] = COUNTS,
    **changes: Any,
) -> Sample:
    """The sample of a quick run at this place: memory is read at every other one, and last.

    ``counted`` are the counts that differ from the usual ones.
    """
    phase = PHASES[min(number, POINTS - 1)]
    requests = ROUND * (number + 1 - (phase is PhaseName.COOL_DOWN and number == POINTS - 1))
    workers = [one for one in processes if one.role is Role.WORKER]
    with_memory = number % 2 == 0 or number == POINTS - 1
    one = Sample(
        phase=phase if number < POINTS else PhaseName.SERIAL,
        time=10.0 + number,
        requests=requests,
        processes=tuple(processes),
        memory=tuple(memory_reading(worker.pid, requests // len(workers)) for worker in workers)
        if with_memory
        else (),
        counts={**COUNTS, **counted},
        work=Work(serving=0.002 * requests, cpu=0.001 * requests, waited=0.0001 * requests),
    )
    return msgspec.structs.replace(one, **changes)


def memory_reading(pid: int = WORKER, requests: int = 0, **changes: Any) -> MemorySample:
    """The memory of a process that holds what it held before."""
    one = MemorySample(
        pid=pid,
        requests=requests,
        blocks=150_000,
        malloc=9_000_000,
        resident=60_000_000,
        mapped=900_000_000,
    )
    return msgspec.structs.replace(one, **changes)


def counting(one: Sample, **counts: int | None) -> Sample:
    """A sample with other counts."""
    return msgspec.structs.replace(one, counts={**one.counts, **counts})


def born(pid: int, role: Role) -> Event:
    return Event(phase="start", time=9.0, kind="born", pid=pid, role=role)


def died(
    pid: int = WORKER,
    *,
    role: Role = Role.WORKER,
    phase: str = "stop",
    exit: int | None = None,
    signal: int | None = None,
) -> Event:
    kind: Literal["died"] = "died"
    return Event(phase=phase, time=30.0, kind=kind, pid=pid, role=role, exit=exit, signal=signal)


BORN = (born(PARENT, Role.PARENT), born(WORKER, Role.WORKER), born(FRONTEND, Role.FRONTEND))
PARENT_ENDED = died(PARENT, role=Role.PARENT, exit=0)
FRONTEND_ENDED = died(FRONTEND, role=Role.FRONTEND, signal=signal.SIGTERM)
ENDED = (died(exit=0), FRONTEND_ENDED, PARENT_ENDED)


def line(text: str, *, phase: str = "parallel", source: str = "wsgi:error") -> LogLine:
    """A line as our ErrorLogFormat writes it."""
    prefix = f"[2026-11-23 05:43:59.987537] [{source}] [pid {WORKER}] "
    return LogLine(phase=phase, text=prefix + text)


LOG = (
    line("mod_wsgi (pid=200): Starting process 'subject'.", phase="warm-up", source="wsgi:info"),
    line("AH00163: Apache/2.4.71 (Debian) mod_wsgi/5.0.2 Python/3.12 configured -- resuming "
         "normal operations", phase="warm-up", source="mpm_prefork:notice"),
    line("mod_wsgi (pid=200): Create interpreter 'interpreter1'.", phase="warm-up",
         source="wsgi:info"),
    line("AH00161: server reached MaxRequestWorkers setting, consider raising the "
         "MaxRequestWorkers setting", phase="warm-up", source="mpm_prefork:error"),
    line("mod_wsgi (pid=200): Destroying interpreters.", phase="stop", source="wsgi:info"),
    line("AH00169: caught SIGTERM, shutting down", phase="stop", source="mpm_prefork:notice"),
)  # fmt: skip


def observed(**changes: Any) -> Observed:
    """A record of a quick run in which nothing is wrong, with ``changes``."""
    clean = Observed(
        plan=LoadPlan(
            parallel=2500, serial=500, connections=100, round=ROUND, request_deadline=10.0
        ),
        urls=URLS,
        phases=(
            Phase(name="warm-up", started=9.5, seconds=1.0, requests=280),
            Phase(name="parallel", started=11.0, seconds=10.0, requests=2500),
            Phase(name="serial", started=21.0, seconds=5.0, requests=500),
            Phase(name="idle", started=26.0, seconds=1.5, requests=0),
            Phase(name="stop", started=27.5, seconds=0.5, requests=0),
        ),
        requests=3280,
        identities=(identity(1), identity(2)),
        samples=samples([[reading()]] * POINTS),
        workers=WORKERS,
        backend="MongoDB",
        events=(*BORN, *ENDED),
        log=LOG,
        stop=Stop(seconds=0.5, leftover=(), connections_left=0),
        requests_per_second=1234.5,
        serving_seconds=12.0,
    )
    return msgspec.structs.replace(clean, **changes)


def failure(**changes: Any) -> Failure:
    one = Failure(
        phase="parallel",
        kind="status",
        url=URLS[0],
        count=3,
        status=500,
        error="500 Internal Server Error",
        body="<html>Internal Server Error</html>",
    )
    return msgspec.structs.replace(one, **changes)


def outcome(seen: Observed, cell: Cell = CELL) -> dict[str, Verdict]:
    """Every check of ``seen`` that did not pass, with what it came to."""
    judgement = judge(cell, seen, RULES)
    return {
        result.check: result.verdict
        for result in judgement.checks
        if result.verdict is not Verdict.PASS
    }


def record(seen: Observed | None = None, cell: Cell = CELL, **changes: Any) -> CellRecord:
    """The record of a cell in which ``seen`` was observed, as the runner makes it."""
    seen = observed() if seen is None else seen
    judgement = judge(cell, seen, RULES)
    one = CellRecord(
        cell=cell,
        verdict=judgement.verdict,
        reason=judgement.reason,
        findings=judgement.findings,
        checks=judgement.checks,
        rest_of_log=judgement.rest_of_log,
        rerun="wsgiproof run --python /usr/bin/python3.12 --mod-wsgi 5.0.2",
        directory=f"cells/{cell.id}",
        timings={"build": 1.0, "serving": 12.0, "total": 27.5},
        observed=seen,
    )
    return msgspec.structs.replace(one, **changes)


def run_record(*cells: CellRecord, **changes: Any) -> RunRecord:
    """A whole run that had these cells and planned no others."""
    one = RunRecord(
        wsgiproof="0.1.0",
        command="wsgiproof run",
        started="2026-11-23T05:43:59+00:00",
        finished="2026-11-23T05:53:59+00:00",
        complete=True,
        planned=tuple(cell.cell.id for cell in cells),
        host={"system": "Linux", "user": "www-data", "mongod": "6.0.5"},
        cells=cells,
    )
    return msgspec.structs.replace(one, **changes)
