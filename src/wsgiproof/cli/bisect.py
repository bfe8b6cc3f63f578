"""``wsgiproof bisect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsgiproof.cli.command_line import command_line
from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import (
    DASK,
    RESUME,
    configure,
    make_console,
    matrix_options,
    note,
    print_json,
    progress_on,
)
from wsgiproof.cli.output import say_unfinished
from wsgiproof.errors import ExitCode, UsageError

_EXAMPLES = (
    "wsgiproof bisect --mod-wsgi 5.0.2..latest --mode daemon --topology none",
    "wsgiproof bisect --pymongo 4.9..4.20 --app app.py --mode daemon --topology none",
    "wsgiproof bisect --mod-wsgi 5..6 --mode embedded --topology none --check crash",
)
_CODES = {
    0: "the version is found",
    2: "the command line is wrong, or names something that does not exist",
    3: "it was not found: the ends are alike, or versions could not be judged",
}
_EXECUTION = [
    option(
        "--check",
        metavar="NAME",
        default="",
        help="Watch this check alone.\nDefault: each check that passes at one end and fails at the "
        "other.",
    ),
    RESUME,
    DASK,
]
_OUTPUT = [
    option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print the result as JSON; progress goes to stderr.",
    ),
]


@command("bisect", examples=_EXAMPLES, codes=_CODES)
@matrix_options(execution=_EXECUTION, output=_OUTPUT)
def bisect_command(
    file: Path | None,
    no_config: bool,
    chosen: str,
    listed: Path | None,
    check: str,
    resume: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the version that changed a verdict.

    One option has a range of versions, such as --mod-wsgi 5.0.2..6.1.1; the others choose one cell.
    Both ends are run, then versions between them, --jobs at a time, until the change is between two
    neighbours.
    """
    # Imported here, since --help and completion need not wait for a driver and an HTTP parser.
    from rich.text import Text

    from wsgiproof.report.bisected import show_bisection
    from wsgiproof.report.html.page import leave_page
    from wsgiproof.run.bisect import bisect
    from wsgiproof.subjects.registry import rules_of

    if listed:
        raise UsageError("--plan lists exact versions, and a bisection chooses its own")
    config, path = configure(options, file=file, no_config=no_config, chosen=chosen)
    console = make_console(stderr=as_json)
    progress = progress_on(console)
    try:
        with progress:
            found = bisect(
                config,
                command_line(),
                progress,
                check=check,
                resume=resume,
                own_file=path is not None,
                note=note,
            )
    except BaseException:
        if progress.output:
            say_unfinished(progress.output, err=as_json)
        raise
    output = found.output
    show_bisection(console, found.result, found.failing, rules_of, str(output))
    page = leave_page(found.record, rules_of, output)
    console.print(Text(f"Report: {page}"), soft_wrap=True)
    if as_json:
        print_json(found.result)
    raise SystemExit(ExitCode.PASS if found.result.located else ExitCode.UNDECIDED)
