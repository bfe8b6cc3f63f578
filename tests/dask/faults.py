"""Runs in the middle of which something fails, drawn at random: what, where, when, for how long."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from tests.dask.cluster import DIRECTORY, GONE_WITHIN, RUN_DEADLINE, SHORT, Cluster, flaws
from tests.dask.network import ADDRESS
from tests.real.command import at_work
from wsgiproof.errors import UsageError
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import load_run
from wsgiproof.records.run import CellRecord

Column = Literal["lost", "twice", "left", "errors", "codes", "changed"]
COLUMNS: dict[Column, str] = {
    "lost": "lost",
    "twice": "twice",
    "left": f"left after {GONE_WITHIN:.0f} s",
    "errors": "errors",
    "codes": "wrong ends",
    "changed": "changed by --resume",
}
"""What may go wrong, with its head in the table."""
KINDS = (
    "kill a worker",
    "kill a host",
    "stop a worker",
    "cut a link",
    "kill the scheduler",
    "kill the client",
    "interrupt the client",
)
_LONGEST = 60.0
"""Seconds that a worker is stopped, a link is cut, or a host is down, at most."""
_STOPPED_WITHIN = 5.0
"""Seconds in which a run that was interrupted may still come to its end by itself."""
_VERDICTS = (0, 1)
"""Exit codes of a run that has a verdict for each cell."""
_ENDS = {"kill the client": -signal.SIGKILL, "interrupt the client": 130, "kill the scheduler": 3}
"""Exit codes of a run that a fault has ended."""
_FILES = {".lock", "cells", "tries", "backends", "results.json", "report.html"}


class Fault(msgspec.Struct, frozen=True):
    """Something that fails."""

    kind: str
    host: int
    """The index of the host that it strikes, if it strikes one."""
    after: float
    """When, as a part of the time that a run without a fault takes."""
    seconds: float
    """For how long."""

    @property
    def text(self) -> str:
        """It, in words."""
        where = f" {self.host + 1}" if self.kind.endswith(("worker", "host", "link")) else ""
        long = f" for {self.seconds:.0f} s" if self.kind in _UNDONE else ""
        return f"{self.kind}{where} at {self.after:.0%}{long}"


class Injection(msgspec.Struct, frozen=True):
    """A run with one fault or two."""

    number: int
    faults: tuple[Fault, ...]
    resume_on_cluster: bool
    """Whether a run that was ended is resumed on the cluster, and not on this machine alone."""


class Outcome(msgspec.Struct):
    """What came of an injection."""

    injection: Injection
    struck: list[str] = []
    """The kinds of the faults that came before the end of the run."""
    violations: list[tuple[Column, str]] = []
    resumed: bool = False
    tried_again: int = 0
    """The number of tries that were lost."""
    gone_after: float = 0.0
    """Seconds after the end of the run until nothing was left of a cell."""
    seconds: float = 0.0
    """From the first record of the run to its end."""


def injection(seed: int, number: int) -> Injection:
    """Return one injection: the same for the same seed and number."""
    draw = random.Random(f"{seed}-{number}")
    faults = [
        Fault(draw.choice(KINDS), draw.randrange(2), draw.random(), draw.uniform(1, _LONGEST))
        for _ in range(draw.choice((1, 1, 2)))
    ]
    faults.sort(key=lambda one: one.after)
    return Injection(number, tuple(faults), draw.random() < 0.5)


def carry_out(one: Injection, cluster: Cluster, normal: float) -> Outcome:
    """Carry out one injection, and check everything after it. ``normal`` is the number of seconds
    that a run takes from its first record to its end."""
    cluster.restore()
    place = DIRECTORY / f"run{one.number}"
    shutil.rmtree(place, ignore_errors=True)
    (place / "tmp").mkdir(parents=True, mode=0o711)
    outcome = Outcome(one)
    _Run(outcome, cluster, place).carry_out(normal)
    if not outcome.violations:
        shutil.rmtree(place)
    return outcome


def measure(cluster: Cluster) -> float:
    """Return the seconds that a run without a fault takes from its first record to its end. Raises
    RuntimeError if such a run fails: injections mean nothing then."""
    outcome = carry_out(Injection(0, (), resume_on_cluster=False), cluster, 0.0)
    if outcome.violations:
        raise RuntimeError(f"a run without a fault fails: {outcome.violations}")
    return outcome.seconds


class _Run:
    """A run and its faults."""

    def __init__(self, outcome: Outcome, cluster: Cluster, place: Path) -> None:
        self._outcome = outcome
        self._cluster = cluster
        self._place = place
        self._output = place / "out"
        self._log = (place / "text").open("w+")
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self._interrupted_at: float | None = None

    def carry_out(self, normal: float) -> None:
        run = self._start("--output", str(self._output), "--dask", ADDRESS)
        while not (self._output / "results.json").exists() and run.poll() is None:
            time.sleep(0.05)
        began = time.monotonic()
        self._strike(run, normal)
        self._check_end(self._end_of(run))
        self._outcome.seconds = time.monotonic() - began
        while self._undo:
            self._undo.pop()[1]()
        self._await_nothing()
        kept = self._finished_cells()
        if not self._is_complete():
            self._resume()
        self._check_result(kept)
        with self._log:
            self._log.seek(0)
            if "Traceback" in self._log.read():
                self._violate("codes", "a traceback")

    def _start(self, *options: str) -> subprocess.Popen[str]:
        return self._cluster.run(*SHORT, *options, tmp=str(self._place / "tmp"), output=self._log)

    def _end_of(self, run: subprocess.Popen[str]) -> int:
        """Wait for the end of a run, and undo on time; return its exit code."""
        until = time.monotonic() + RUN_DEADLINE
        while run.poll() is None and time.monotonic() < until:
            self._undo_due()
            time.sleep(0.05)
        if run.poll() is None:
            self._violate("codes", f"still running after {RUN_DEADLINE:.0f} s")
            run.kill()
        return run.wait()

    # --- faults --------------------------------------------------------------------------------

    def _strike(self, run: subprocess.Popen[str], normal: float) -> None:
        began = time.monotonic()
        for fault in self._outcome.injection.faults:
            while run.poll() is None and time.monotonic() < began + fault.after * normal:
                self._undo_due()
                time.sleep(0.02)
            if run.poll() is not None:
                return
            if self._inject(fault, run):
                self._outcome.struck.append(fault.kind)

    def _inject(self, fault: Fault, run: subprocess.Popen[str]) -> bool:
        """Have something fail; return False if there is nothing to strike at the moment."""
        host = self._cluster.hosts[fault.host]
        if fault.kind == "kill the client":
            run.kill()
        elif fault.kind == "interrupt the client":
            run.send_signal(signal.SIGINT)
            self._interrupted_at = time.monotonic()
        elif fault.kind == "kill the scheduler":
            self._cluster.scheduler.kill()
        elif fault.kind == "kill a host":
            host.kill()
            self._undo_after(fault, host.start)
        elif fault.kind == "cut a link":
            host.cut()
            self._undo_after(fault, host.mend)
        elif pid := host.worker():
            if fault.kind == "kill a worker":
                os.kill(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGSTOP)
                self._undo_after(fault, lambda: _go_on(pid))
        else:
            return False
        return True

    def _undo_after(self, fault: Fault, undo: Callable[[], None]) -> None:
        self._undo.append((time.monotonic() + fault.seconds, undo))

    def _undo_due(self) -> None:
        for one in list(self._undo):
            when, undo = one
            if time.monotonic() >= when:
                self._undo.remove(one)
                undo()

    # --- checks --------------------------------------------------------------------------------

    def _violate(self, column: Column, text: str) -> None:
        self._outcome.violations.append((column, text))

    def _check_end(self, code: int) -> None:
        may = {_ENDS[kind] for kind in self._outcome.struck if kind in _ENDS}
        if self._is_complete():  # a fault may come when all is done
            may.update(_VERDICTS)
        if code not in (may or _VERDICTS):
            self._violate("codes", f"exit code {code} after {self._outcome.struck}")
        ran_on = time.monotonic() - (self._interrupted_at or time.monotonic())
        if code in _VERDICTS and ran_on > _STOPPED_WITHIN:
            self._violate("codes", f"it ran on for {ran_on:.0f} s after an interrupt")

    def _await_nothing(self) -> None:
        """Wait until no process of a cell is left, and none of the client."""
        began = time.monotonic()
        while left := [*self._cluster.left(), *at_work(self._place)]:
            self._outcome.gone_after = time.monotonic() - began
            if self._outcome.gone_after > GONE_WITHIN:
                self._violate("left", "; ".join(left))
                break
            time.sleep(0.1)

    def _resume(self) -> None:
        self._outcome.resumed = True
        on_cluster = self._outcome.injection.resume_on_cluster
        if on_cluster:
            self._cluster.restore()
        begun = self._output.exists()
        where = ("--resume" if begun else "--output", str(self._output))
        code = self._end_of(self._start(*where, *(("--dask", ADDRESS) if on_cluster else ())))
        if code not in _VERDICTS:
            self._violate("codes", f"exit code {code} of --resume")

    def _finished_cells(self) -> list[CellRecord]:
        """Return the records that a later run has to keep."""
        with suppress(UsageError):  # the run has ended before it had a result
            cells = load_run(self._output).cells
            return [one for one in cells if one.verdict is not Verdict.ERROR]
        return []

    def _is_complete(self) -> bool:
        with suppress(UsageError):
            return load_run(self._output).complete
        return False

    def _check_result(self, kept: Sequence[CellRecord]) -> None:
        record = load_run(self._output)
        for column, text in flaws(record):
            self._violate(column, text)
        cells = {one.cell.id: one for one in record.cells}
        for one in kept:
            if cells.get(one.cell.id) != one:
                self._violate("changed", one.cell.id)
        strange = {path.name for path in self._output.iterdir()} - _FILES
        strange |= {path.name for path in (self._output / "cells").iterdir()} - set(record.planned)
        for name in sorted(strange):
            self._violate("twice", f"{name} is in the output")
        self._outcome.tried_again = sum(len(one.tries) for one in record.cells)


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


_UNDONE = ("kill a host", "stop a worker", "cut a link")
"""Kinds that last for a while."""


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table with a row for each kind of fault, and one for all runs. A run with
    faults of two kinds is in two rows; in a column, a run counts once."""
    heads = ["fault", "runs", *COLUMNS.values(), "tried again", "resumed", "gone after"]
    struck = [one for one in outcomes if one.struck]
    rows = [_row(kind, [one for one in struck if kind in one.struck]) for kind in sorted(KINDS)]
    rows.append(_row("**all**", struck))
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def _row(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    counts = Counter(column for one in outcomes for column in dict(one.violations))
    slowest = max((one.gone_after for one in outcomes), default=0.0)
    return [
        name,
        str(len(outcomes)),
        *(str(counts[column]) for column in COLUMNS),
        str(sum(one.tried_again for one in outcomes)),
        str(sum(one.resumed for one in outcomes)),
        f"{slowest:.1f} s",
    ]


def read_outcomes(path: Path) -> Iterator[Outcome]:
    """Yield the outcomes in a file, one in each line; there may be no such file."""
    if path.exists():
        for line in path.read_bytes().splitlines():
            yield msgspec.json.decode(line, type=Outcome)
