"""``wsgiproof client``: the recipe's load client, with an account of what came back."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from wsgiproof.cli.choices import Choices
from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import make_console, print_json
from wsgiproof.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from wsgiproof.load.statistics import Check, LoadStatistics
    from wsgiproof.records.traffic import Traffic

_REQUESTS = 50_000
_GC_THRESHOLD = 50_000
"""New objects between two collections."""
_EXAMPLES = (
    "wsgiproof client -n 2500 -t 100 parallel http://localhost/interpreter1 "
    "http://localhost/interpreter2",
    "wsgiproof client -n 25000 serial http://localhost/interpreter1",
    "wsgiproof client --rate 200 --duration 60 --keepalive parallel http://localhost/",
    "wsgiproof client -n 1000 -c --expect-json --json parallel http://localhost/ > load.json",
)
_CODES = {
    0: "every request was answered with success (2xx), and as expected",
    1: "a request failed",
    2: "the command line is wrong",
    3: "this machine could not make the requests",
    130: "interrupted; what was done until then is shown",
}


@command("client", examples=_EXAMPLES, codes=_CODES)
@click.argument("mode", type=Choices(["parallel", "serial"]))
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@option(
    "-n",
    "--nrequests",
    "requests",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Requests in all.  [default: {_REQUESTS}, or no limit with --duration]",
)
@option(
    "-t",
    "--nthreads",
    "--connections",
    "connections",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="In mode 'parallel', connections at the same time.",
)
@option("-q", "--quiet", is_flag=True, help="Print only what failed.")
@option("-c", "--continue", "go_on", is_flag=True, help="Continue after a request has failed.")
@option("--keepalive", is_flag=True, help="Keep connections for the next request.")
@option("--duration", type=click.FloatRange(min=0), metavar="SECONDS", help="End after this time.")
@option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help="Requests per second, whatever the server does.\n"
    "The time of a request counts from when it is due, so that a stall shows.",
)
@option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="The time limit of each request.",
)
@option("--expect-json", is_flag=True, help="Require each body to be JSON.")
@option("--expect-body", metavar="REGEX", help="Require a match in each body.")
@option("--seed", type=int, help="The seed of the random choice of URLs.\nThe summary shows it.")
@option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def client_command(
    mode: str, urls: tuple[str, ...], as_json: bool, quiet: bool, **options: Any
) -> None:
    """Load URLs with GET requests, and report what came back.

    Each request goes to one of the URLs at random, and has a connection of its own unless
    --keepalive is given. It stops at the first request that fails, unless -c is given; whatever
    failed makes the exit code 1.
    """
    from wsgiproof.load.statistics import LoadStatistics

    seed = _seed(options.pop("seed"))
    tally = LoadStatistics(_check(options.pop("expect_json"), options.pop("expect_body")))
    interrupted, done = False, False
    try:
        with _watching(tally, _planned(options), quiet=quiet or as_json):
            _load(tally, urls, seed, serial=mode == "serial", **options)
        done = True
    except KeyboardInterrupt:
        interrupted = True
    finally:
        # Also where this machine could not continue, but not where no request was made.
        if done or interrupted or tally.requests:
            traffic = tally.traffic(seed)
            if as_json:
                print_json(traffic.to_json())
            elif traffic.failed or not quiet:
                _show(traffic, interrupted=interrupted)
    failed = ExitCode.FINDING if tally.failed else ExitCode.PASS
    raise SystemExit(ExitCode.INTERRUPTED if interrupted else failed)


def _watching(
    tally: LoadStatistics, planned: int | None, *, quiet: bool
) -> AbstractContextManager[None]:
    """Show progress while the context lasts. What shows it is loaded only where it is shown."""
    if quiet:
        return nullcontext()
    from wsgiproof.report.traffic import watching

    return watching(make_console(stderr=True), tally, planned)


def _show(traffic: Traffic, *, interrupted: bool) -> None:
    from wsgiproof.report.traffic import show_traffic

    show_traffic(make_console(), traffic, interrupted=interrupted)


def _planned(options: dict[str, Any]) -> int | None:
    """Fill in the default number of requests, and return the number if it is known."""
    if options["requests"] is None and options["duration"] is None:
        options["requests"] = _REQUESTS
    requests: int | None = options["requests"]
    return requests


def _seed(given: int | None) -> int:
    import random

    return random.randrange(2**32) if given is None else given


def _check(as_json: bool, pattern: str | None) -> Check | None:
    """Return the check of each body, if there is one."""
    import re

    import msgspec

    try:
        wanted = None if pattern is None else re.compile(pattern.encode())
    except re.error as error:
        raise UsageError(
            f"--expect-body {pattern!r} is not a regular expression: {error}"
        ) from None
    read = msgspec.json.Decoder().decode if as_json else None

    def check(body: bytes) -> str:
        if wanted is not None and wanted.search(body) is None:
            return f"nothing in the body matches {pattern!r}"
        if read is not None:
            try:
                read(body)
            except msgspec.DecodeError as error:
                return f"the body is not JSON: {error}"
        return ""

    return check if wanted or read else None


def _load(
    tally: LoadStatistics,
    urls: tuple[str, ...],
    seed: int,
    *,
    serial: bool,
    requests: int | None,
    connections: int,
    go_on: bool,
    keepalive: bool,
    duration: float | None,
    rate: float | None,
    timeout: float,
) -> None:
    """Make the requests."""
    import gc
    import random
    from functools import partial

    from wsgiproof.load import engine
    from wsgiproof.load.target import Target

    width = 1 if serial else connections
    engine.raise_descriptor_limit(width)
    targets = [Target.parse(url, keeps=keepalive) for url in urls]
    # Nothing here needs the collector, which would go through everything in flight all the time.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    choose = partial(random.Random(seed).choice, targets)
    load = partial(
        engine.parallel if rate is None else partial(engine.paced, rate=rate),
        choose if len(targets) > 1 else lambda: targets[0],
        requests=requests,
        connections=width,
        timeout=timeout,
        on_response=tally.add,
        stop=lambda: bool(tally.failed) and not go_on,
        seconds=math.inf if duration is None else duration,
    )
    tally.unsent = load() or 0
