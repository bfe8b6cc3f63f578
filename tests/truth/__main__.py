"""``python -m tests.truth``: run the cases, and print what was caught, missed and alarmed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import click

from tests.truth.cases import Case, load
from tests.truth.compare import Comparison, worst
from tests.truth.confusion import expected, page, write, wrong
from tests.truth.runner import ROOT, Run, run_all, sweep


@click.command()
@click.option(
    "--only",
    multiple=True,
    default=["*"],
    help="Cases whose folder/name matches one of these globs.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, help="Runs at the same time.")
@click.option("--runs", type=click.IntRange(1), default=1, help="Runs of each case.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the records of cases that are wrong go; must not exist.",
)
@click.option(
    "--table",
    "file",
    type=click.Path(path_type=Path),
    help="Write the table into this file, below its mark.",
)
@click.option("--keep", is_flag=True, help="Keep the records of all cases.")
@click.option("--list", "only_list", is_flag=True, help="Print the cases, and run none.")
def main(
    only: tuple[str, ...],
    jobs: int,
    runs: int,
    output: Path | None,
    file: Path | None,
    keep: bool,
    only_list: bool,
) -> None:
    """Run the cases through the real command and print the confusion table.

    Exit code 1 if any case is not as it should be.
    """
    cases = [case for case in load() if any(fnmatchcase(case.id, glob) for glob in only)]
    if not cases:
        raise click.UsageError(f"no case matches {' or '.join(only)}")
    if only_list:
        for case in cases:
            click.echo(f"{case.id}  [{case.kind}]  {expected(case)}")
        return
    where = output or ROOT / "wsgiproof-results" / f"truth-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    began, since = time.monotonic(), time.time()
    outcomes: dict[str, list[Comparison]] = {}
    try:
        for number, run in enumerate(run_all(cases, where, jobs, runs, keep=keep), 1):
            outcomes.setdefault(run.case.id, []).extend(run.comparisons)
            _show(run, f"{number}/{len(cases) * runs}", time.monotonic() - began)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
    finally:
        sweep(since)
    _finish([case for case in cases if case.id in outcomes], outcomes, began, runs, where, file)


def _show(run: Run, number: str, seconds: float) -> None:
    one = worst(run.comparisons)
    state = "" if one.right else "  <- expected: " + expected(run.case)
    click.echo(f"{seconds:6.0f} s {number:>8}  {run.case.id}: {one.result}{state}")
    for reason in () if one.right else one.reasons:
        click.echo(f"                   {reason}")


def _finish(
    cases: list[Case],
    outcomes: dict[str, list[Comparison]],
    began: float,
    runs: int,
    where: Path,
    file: Path | None,
) -> None:
    bad = wrong(outcomes)
    times = "once" if runs == 1 else f"{runs} times"
    head = (
        f"{len(cases)} cases, each run {times}, in {(time.monotonic() - began) / 60:.0f} minutes; "
        f"{len(cases) - len(bad)} as they should be."
    )
    text = page(cases, outcomes, head)
    click.echo(f"\n{text}")
    if bad:
        click.echo(f"\nRecords: {where}")
    if file is not None:
        write(file, text)
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
