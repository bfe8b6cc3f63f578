"""``wsgiproof client``: the recipe's load client, with an account of what came back."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from wsgiproof.cli.options import exit_codes, make_console, print_json
from wsgiproof.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from wsgiproof.load.statistics import Check, LoadStatistics
    from wsgiproof.traffic import Traffic

_REQUESTS = 50_000
_GC_THRESHOLD = 50_000
"""New objects between two collections."""
_EXAMPLES = """\b
Examples:
  wsgiproof client -n 2500 -t 100 parallel http://localhost/interpreter1 http://localhost/interpreter2
  wsgiproof client -n 25000 serial http://localhost/interpreter1
  wsgiproof client --rate 200 --duration 60 --keepalive parallel http://localhost/
  wsgiproof client -n 1000 -c --expect-json --json parallel http://localhost/ > load.json
"""
_CODES = exit_codes(
    {
        0: "every request was answered with status 200, and as expected",
        1: "a request failed",
        2: "the command line is wrong",
        3: "this machine could not make the requests",
        130: "interrupted; what was done until then is told",
    }
)


@click.command("client", epilog=f"{_EXAMPLES}\n{_CODES}")
@click.argument("mode", type=click.Choice(["parallel", "serial"]))
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option(
    "-n",
    "--nrequests",
    "requests",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Requests in all.  [default: {_REQUESTS}, or no limit with --duration]",
)
@click.option(
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
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what failed.")
@click.option("-c", "--continue", "go_on", is_flag=True, help="Go on after a request has failed.")
@click.option("--keepalive", is_flag=True, help="Keep connections for the next request.")
@click.option(
    "--duration", type=click.FloatRange(min=0), metavar="SECONDS", help="End after so long."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help="Requests fall due at this rate per second, whatever the server does. Their time is "
    "counted from then, so that a stall shows.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="For each request.",
)
@click.option("--expect-json", is_flag=True, help="Each body has to be JSON.")
@click.option("--expect-body", metavar="REGEX", help="This has to be found in each body.")
@click.option("--seed", type=int, help="Of the random choice of URLs. The summary tells it.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def client_command(
    mode: str, urls: tuple[str, ...], as_json: bool, quiet: bool, **options: Any
) -> None:
    """Load URLs with GET requests, each to one of them at random, and say what came back.

    The command line is that of PyMongo's test/mod_wsgi_test/test_client.py. Each request has a
    connection of its own unless --keepalive is given. It stops at the first request that fails,
    unless -c is given; whatever failed makes the exit code 1.
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
        # Also where this machine could not go on; but not where nothing was begun.
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
    """Show how far it has come, in the context; what it takes to show that is not even loaded if
    it is not shown, as at the end."""
    if quiet:
        return nullcontext()
    from wsgiproof.report.traffic import watching

    return watching(make_console(stderr=True), tally, planned)


def _show(traffic: Traffic, *, interrupted: bool) -> None:
    from wsgiproof.report.traffic import show_traffic

    show_traffic(make_console(), traffic, interrupted=interrupted)


def _planned(options: dict[str, Any]) -> int | None:
    """How many requests there will be, if that is known; fills in the default."""
    if options["requests"] is None and options["duration"] is None:
        options["requests"] = _REQUESTS
    requests: int | None = options["requests"]
    return requests


def _seed(given: int | None) -> int:
    import random

    return random.randrange(2**32) if given is None else given


def _check(as_json: bool, pattern: str | None) -> Check | None:
    """What each body has to pass."""
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
    # Nothing here waits for the collector, which would look at all that is in flight all the time.
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
