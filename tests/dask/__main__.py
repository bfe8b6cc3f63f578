"""``python -m tests.dask``: what takes too long for a test, on a cluster of network namespaces."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from tests.dask import scaling as compare
from tests.dask.cluster import Cluster
from tests.dask.faults import Outcome, carry_out, injection, measure, read_outcomes, table


@click.group()
def main() -> None:
    """Run cells on a cluster of network namespaces on this machine; needs root."""


@main.command()
@click.option("--runs", type=click.IntRange(1), default=50)
@click.option("--seed", type=int, default=1)
@click.option("--only", type=int, default=None, help="Only the injection of this number.")
@click.option("--minutes", type=float, default=None, help="Begin injections for this long.")
@click.option(
    "--outcomes",
    "file",
    type=click.Path(path_type=Path),
    help="Write each outcome into this file; what is in it already is not run again.",
)
def faults(
    runs: int, seed: int, only: int | None, minutes: float | None, file: Path | None
) -> None:
    """Have things fail at random in RUNS runs, and check what is left of each.

    Exit code 1 if anything was lost, twice, or left behind.
    """
    # A shell that starts this in the background has it ignored, here and in all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    until = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    outcomes = list(read_outcomes(file)) if file is not None else []
    done = {one.injection.number for one in outcomes}
    numbers = [number for number in range(1, runs + 1) if number not in done]
    with ExitStack() as stack:
        cluster = Cluster(stack)
        normal = measure(cluster)
        click.echo(f"without a fault a run takes {normal:.1f} s")
        for number in numbers if only is None else [only]:
            if time.monotonic() > until:
                break
            outcomes.append(carry_out(injection(seed, number), cluster, normal))
            _show(outcomes[-1])
            if file is not None:
                with file.open("ab") as output:
                    output.write(msgspec.json.encode(outcomes[-1]) + b"\n")
    late = sum(not one.struck for one in outcomes)
    click.echo(f"\n{len(outcomes)} runs, seed {seed}; in {late} the fault came too late.\n")
    click.echo(table(outcomes))
    raise SystemExit(1 if any(one.violations for one in outcomes) else 0)


@main.command()
@click.option("--cells", type=click.Choice([4, 24]), default=24)
@click.option("-n", "--requests", type=click.IntRange(1), default=3000, help="For each cell.")
def scaling(cells: int, requests: int) -> None:
    """Run the same cells here, on one worker and on two, and compare records and times.

    Exit code 1 if the records are not equal in kind.
    """
    found: list[str] = []
    with ExitStack() as stack:
        local, *others = compare.measure(Cluster(stack), cells, requests)
    rows = [f"{one.where}: {cells} cells in {one.seconds:.0f} s" for one in (local, *others)]
    click.echo("\n".join(rows))
    one, two = others
    click.echo(f"two workers take {two.seconds / one.seconds:.0%} of the time of one")
    for other in others:
        found += compare.differences(other, local)
    click.echo("\n".join(found) or "The records of all three are equal in kind.")
    raise SystemExit(1 if found else 0)


def _show(outcome: Outcome) -> None:
    what = "; ".join(one.text for one in outcome.injection.faults)
    state = ", ".join(sorted(dict(outcome.violations))) or ("ok" if outcome.struck else "too late")
    click.echo(f"{outcome.injection.number:4} {outcome.seconds:5.0f} s  {what} -> {state}")
    for column, text in outcome.violations:
        click.echo(f"          {column}: {text}")


if __name__ == "__main__":
    main()
