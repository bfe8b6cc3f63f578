"""``python -m tests.torture``: inject faults for some minutes, and report the results."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import click
import msgspec

from tests.torture.draw import injection, injections
from tests.torture.kinds import KINDS
from tests.torture.one import Order
from tests.torture.outcome import Injection, Outcome, Setup
from tests.torture.processes import become_subreaper, descendants, signal_it
from tests.torture.sandbox import MARK, options
from tests.torture.table import describe, table, with_violations

ROOT = Path(__file__).parents[2]
_BELOW = "<!-- below: python -m tests.torture --table docs/reliability.md -->"
"""The mark above the table in a file; everything after it is replaced."""
_LONGEST = 900.0
"""Seconds that one injection may take with all checks after it."""


@click.command()
@click.option("--minutes", type=float, default=60.0, help="Begin injections for this long.")
@click.option("--seed", type=int, default=1)
@click.option("--jobs", type=int, default=3, help="Injections at the same time.")
@click.option("--only", type=click.Choice(["", *sorted(KINDS)]), default="", help="Only this kind.")
@click.option("--most", type=int, default=None, help="The largest number of injections.")
@click.option("--only-injection", "number", type=int, default=None, help="Only this injection.")
@click.option("--keep", is_flag=True, help="Keep the sandboxes.")
@click.option(
    "--table",
    "file",
    type=click.Path(path_type=Path),
    help="Write the table into this file, below its mark.",
)
@click.option("--list", "only_list", is_flag=True, help="Only list the injections; needs --most.")
def main(
    minutes: float,
    seed: int,
    jobs: int,
    only: str,
    most: int | None,
    number: int | None,
    keep: bool,
    file: Path | None,
    only_list: bool,
) -> None:
    """Inject faults into the real command, and report the results.

    Exit code 1 if there is a violation, 3 if the harness itself had a defect.
    """
    chosen: Iterable[Injection] = (
        injections(seed, only) if number is None else [injection(seed, number, only)]
    )
    if most is not None:
        chosen = islice(chosen, most)
    if only_list:
        for one in chosen:
            click.echo(one.text)
        return
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    # A shell starts a command with "&" with SIGINT ignored, and every command below would ignore
    # it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="wpt-", dir="/tmp"))
    work.chmod(0o711)
    outcomes: list[Outcome] = []
    try:
        become_subreaper()
        setup = prepare(work, seed)
        click.echo(f"without a fault a run takes {setup.normal:.1f} s; sandboxes: {work}")
        for outcome in carry_out_all(chosen, setup, jobs, begun + 60 * minutes, keep=keep):
            outcomes.append(outcome)
            _show(outcome, len(outcomes), time.monotonic() - begun)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
    finally:
        for process in descendants(os.getpid()):
            signal_it(process, signal.SIGKILL)
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
    _finish(outcomes, time.monotonic() - begun, seed, only, file)


def prepare(work: Path, seed: int) -> Setup:
    """Fill the build cache, make a record to damage, and measure a run without a fault.

    Raises RuntimeError if wsgiproof fails without a fault, since injections are meaningless then.
    """
    for name in ("t", "w"):
        (work / name).mkdir()
    (work / "t").chmod(0o711)
    # With the entries of only one cell, so that damage to a copy hits what the cell uses.
    cache, base = work / "cache", work / "base"
    environment = {**os.environ, "TMPDIR": str(work / "t"), "WSGIPROOF_CACHE": str(cache)}

    def run(*arguments: str) -> float:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "wsgiproof", "run", *arguments],
            env=environment,
            cwd=work / "w",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"a run without a fault fails:\n{done.stdout}{done.stderr}")
        return time.monotonic() - began

    run(*options(), "--output", str(work / "first"))
    # Half of the two cells' time, and a little more for starting and reporting.
    two = options(mode="daemon+embedded")
    normal = 0.6 * run(*two, "--jobs", "1", "--output", str(base))
    return Setup(seed=seed, work=str(work), cache=str(cache), base=str(base), normal=normal)


def carry_out_all(
    chosen: Iterable[Injection], setup: Setup, jobs: int, until: float, *, keep: bool = False
) -> Iterator[Outcome]:
    """Carry out injections, ``jobs`` at a time, until the monotonic time ``until``; yield each
    result."""
    waiting: set[Future[Outcome]] = set()
    running: set[int] = set()
    coming = iter(chosen)
    with ThreadPoolExecutor(jobs) as pool, _ended(running):
        while True:
            while len(waiting) < jobs and time.monotonic() < until:
                if (one := next(coming, None)) is None:
                    until = 0.0
                    break
                waiting.add(pool.submit(carry_out_one, Order(setup, one, keep), running))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


@contextmanager
def _ended(running: set[int]) -> Iterator[None]:
    """End the running injections if an exception comes, since the threads wait for them."""
    try:
        yield
    except BaseException:
        for pid in tuple(running):
            for process in descendants(pid):
                signal_it(process, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise


def carry_out_one(order: Order, running: set[int]) -> Outcome:
    """Carry out one injection in its own process; its pid is in ``running`` meanwhile."""
    name = f"{order.setup.work}/{order.injection.number}"
    order_file, result = Path(f"{name}.order"), Path(f"{name}.result")
    order_file.write_bytes(msgspec.json.encode(order))
    failed = Outcome(order.injection)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture.one", str(order_file), str(result)],
        cwd=ROOT,
        env={key: text for key, text in os.environ.items() if key != MARK},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    running.add(process.pid)
    try:
        _, errors = process.communicate(timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        errors = f"still running after {_LONGEST:g} s"
        for below in descendants(process.pid):
            signal_it(below, signal.SIGKILL)
        process.kill()
        process.wait()
    running.discard(process.pid)
    try:
        return msgspec.json.decode(result.read_bytes(), type=Outcome)
    except (OSError, msgspec.MsgspecError):
        failed.broken = f"no outcome, exit code {process.returncode}: {errors}"
        return failed


def _show(outcome: Outcome, count: int, seconds: float) -> None:
    bad = sorted({one.column for one in outcome.violations})
    state = "BROKEN" if outcome.broken else ", ".join(bad) or ("missed" if outcome.missed else "ok")
    click.echo(f"{seconds:6.0f} s {count:4} {outcome.injection.text[:150]} -> {state}")
    if outcome.violations or outcome.broken:
        click.echo("\n".join(f"        {line}" for line in describe(outcome).splitlines()[1:]))
        click.echo("\n".join(f"        | {line}" for line in outcome.notes))


def _finish(
    outcomes: list[Outcome], seconds: float, seed: int, only: str, file: Path | None
) -> None:
    missed = sum(one.missed for one in outcomes)
    broken = sum(bool(one.broken) for one in outcomes)
    cpu = sum(one.cpu for one in outcomes)
    head = (
        f"{len(outcomes) - missed - broken} injections in {seconds / 60:.0f} minutes, seed {seed}; "
        f"{missed} more came too late to strike; {cpu:.0f} s of processor time"
        + (f"; {broken} defects of the harness" if broken else "")
    )
    lacking = {name: kind.missing() for name, kind in KINDS.items() if kind.missing()}
    lines = [f"{head}.", "", table(outcomes)]
    lines += [f"Not injected here: {name} ({why})." for name, why in lacking.items()]
    click.echo("\n".join(["", *lines]))
    bad = with_violations(outcomes)
    again = f"python -m tests.torture --seed {seed}{' --only ' + only if only else ''}"
    for one in bad:
        click.echo(f"{describe(one)}\n  again: {again} --only-injection {one.injection.number}")
    if file is not None:
        before = file.read_text().partition(_BELOW)[0] if file.exists() else ""
        file.write_text("\n".join([f"{before}{_BELOW}", "", *lines]))
    raise SystemExit(3 if broken else 1 if bad else 0)


def _as_ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
