"""What several commands have in common: their options, and where their output goes."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from wsgiproof.cell import InterpreterKind, Mode, Mpm, Topology
from wsgiproof.cli.output import say
from wsgiproof.config import Config, Profile
from wsgiproof.configfile import absolute, anchored, combine, find, load
from wsgiproof.errors import ExitCode, one_line
from wsgiproof.records import ExtraPhase, RunRecord, as_json
from wsgiproof.results import load_run
from wsgiproof.subjects.controls import CONTROLS
from wsgiproof.uri import has_password

if TYPE_CHECKING:
    from rich.console import Console

    from wsgiproof.report.progress import LiveProgress, PlainProgress

_LOG_WIDTH = 200
_NOT_PLAIN = re.compile(r"[^\n -~]")
_Command = Callable[..., Any]
_Decorator = Callable[[_Command], _Command]

_COMMON_CODES: dict[int, str] = {
    ExitCode.DEFECT: "a defect of wsgiproof itself: please report it with the file that is named",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.CLOSED: "the program that read the output, such as head, has ended",
}


def exit_codes(special: Mapping[int, str]) -> str:
    """The end of a help text: what each exit code of a command means."""
    every = sorted({**_COMMON_CODES, **special}.items())
    return "\n".join(["\b", "Exit codes:", *(f"  {code:<3}  {says}" for code, says in every), ""])


EXIT_CODES = exit_codes(
    {
        0: "every check of every cell passed",
        1: "a finding: something is wrong with the subject",
        2: "the command line is wrong, or names something that does not exist",
        3: "at least one cell could not be decided or could not be run",
    }
)


def choices(values: Sequence[str]) -> click.Choice[str]:
    return click.Choice([str(value) for value in values])


def _axis(name: str, values: Sequence[str] | None, metavar: str | None, text: str) -> _Decorator:
    """An option that may be given more than once; its key in a file has the same name."""
    kind = choices(values) if values else None
    return click.option(f"--{name}", multiple=True, type=kind, metavar=metavar, help=text)


def _phases(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> list[str] | None:
    """The phases of a list; a list and no tuple, since no phase at all is something given, too."""
    if value is None:
        return None
    if value in ("all", "none"):
        return list(ExtraPhase) if value == "all" else []
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in list(ExtraPhase):
            raise click.BadParameter(
                f"'{name}' is none of {', '.join(ExtraPhase)}; or all, none", context, parameter
            )
    return names


_MACHINE_OPTIONS: list[_Decorator] = [
    _axis(
        "python",
        None,
        "VERSION|PATH",
        "The Python to embed: 3.12, 3.12.1, 3.13t, a path, or an environment ('wsgiproof pythons' "
        "lists them). Default: the one at hand.",
    ),
    _axis("mpm", list(Mpm), None, "Apache's multi-processing module.  [default: prefork]"),
    _axis(
        "mongodb",
        None,
        "PATH|URI|NAME",
        "The mongod to start, or a deployment to use (ours is a database in it); or one of "
        "mongodb_servers. A URI with a password is better kept from the command line: env:NAME, "
        "file:PATH, or - for a line of standard input.",
    ),
    click.option(
        "--httpd",
        metavar="PATH",
        help="Apache's server. Default: the one whose apxs is on PATH, or else one of our own, "
        "built once.",
    ),
    click.option("--apxs", metavar="PATH", help="Its apxs. Default: the one beside it."),
]
_OUTPUT = click.option(
    "--output", metavar="DIR", help="Where results go. Default: wsgiproof-results/TIME."
)
_VERSION_OPTIONS: list[_Decorator] = [
    _axis(
        "mod-wsgi",
        None,
        "VERSION|PATH",
        "A version, latest, a .so, a source tree or its archive. Default: the .so that the "
        "environment variable MOD_WSGI_SO names, or latest.",
    ),
    _axis(
        "pymongo",
        None,
        "VERSION|PATH",
        "A version, latest, min (the oldest with a wheel), a wheel, or a source checkout such as "
        "'.'. Default: latest.",
    ),
]
_MATRIX_OPTIONS: list[_Decorator] = [
    click.argument("only", metavar="[CELL]...", nargs=-1),
    *_VERSION_OPTIONS,
    _axis(
        "topology",
        list(Topology),
        None,
        "standalone, replica-set, or none: encode and decode only.  [default: the first two]",
    ),
    _axis("mode", list(Mode), None, "daemon or embedded.  [default: both]"),
    _axis(
        "interpreter",
        list(InterpreterKind),
        None,
        "main, shared-gil, own-gil or free-threaded.  [default: shared-gil]",
    ),
    click.option(
        "--sub-interpreters", type=int, help="How many of them share each process.  [default: 2]"
    ),
    click.option(
        "--maximum-requests",
        type=int,
        help="Replace each process after so many requests, as mod_wsgi's option of that name does.",
    ),
    click.option(
        "--profile",
        type=choices(list(Profile)),
        help="quick: 2,500 requests in parallel and 500 in series; full: 25,000 and 25,000.  "
        "[default: quick]",
    ),
    click.option("-n", "requests", type=int, help="Requests for each cell."),
    click.option("-c", "connections", type=int, help="Requests in flight at once.  [default: 100]"),
    click.option(
        "--extra-requests",
        type=int,
        metavar="N",
        help="Requests that may be added, at most, where the load does not decide; 0: none.  "
        "[default: one and a half times the load]",
    ),
    click.option(
        "--max-seconds",
        type=float,
        metavar="SECONDS",
        help="Cut the load of a cell short after so long, and judge it as it is.",
    ),
    click.option(
        "--phases",
        callback=_phases,
        metavar="LIST",
        help="What is tried beyond load and the stop: any of restart (graceful), reload (the "
        "script is touched, in daemon mode), failover (on a deployment that wsgiproof started) and "
        "idle, such as 'restart,failover'; or all, or none.  [default: restart]",
    ),
    click.option(
        "--restarts",
        type=int,
        metavar="N",
        help="Graceful restarts in a row, and reloads.  [default: 1]",
    ),
    click.option(
        "--idle-seconds",
        type=float,
        metavar="SECONDS",
        help="How long the phase idle watches a server without a request.  [default: 30]",
    ),
    click.option(
        "--fault-seconds",
        type=float,
        metavar="SECONDS",
        help="How long members are paused or gone in the phase failover.  [default: 3]",
    ),
    click.option(
        "--control",
        type=choices(sorted(CONTROLS)),
        metavar="NAME",
        help="Plant a fault, or its clean twin, to see what wsgiproof makes of it.",
    ),
    click.option(
        "--app",
        metavar="FILE.py",
        help="A WSGI script of yours, called in place of ours. It is told its deployment in "
        "environ['wsgiproof.mongodb_uri'] and ['wsgiproof.database'], and at import in "
        "os.environ['WSGIPROOF_MONGODB_URI'] and ['WSGIPROOF_DATABASE'].",
    ),
    click.option(
        "--with",
        "requirements",
        multiple=True,
        metavar="REQUIREMENT",
        help="Install this beside PyMongo: dnspython, 'python-snappy==0.7.3'.",
    ),
    click.option(
        "--constraint",
        "constraints",
        metavar="FILE",
        help="A constraints file, as pip has them, for what is installed.",
    ),
    click.option(
        "--directive",
        "directives",
        multiple=True,
        metavar="LINE",
        help="A line for Apache's configuration, after ours: 'WSGIDestroyInterpreter Off'.",
    ),
    click.option("--set", "chosen", metavar="NAME", default="", help="A named set of the file."),
]
_JOBS = click.option(
    "--jobs", type=int, help="Cells at the same time.  [default: half the number of cores]"
)
_FILE_OPTIONS: list[_Decorator] = [
    click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Default: the nearest wsgiproof.toml, or pyproject.toml with [tool.wsgiproof], "
        "upwards from here, where it and the directories down to here are yours or root's.",
    ),
    click.option("--no-config", is_flag=True, help="Read no configuration file."),
]


_REPORT_OPTIONS: list[_Decorator] = [
    click.option(
        "--junit",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write JUnit XML: a test case for each planned cell.",
    ),
    click.option(
        "--summary",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write Markdown, for a pull request.",
    ),
]


def machine_options(command: _Command) -> _Command:
    """What is to be looked for on the machine."""
    return _add([*_MACHINE_OPTIONS, _OUTPUT, _JOBS], command)


def version_options(command: _Command) -> _Command:
    """Which mod_wsgi, and which PyMongo."""
    return _add(_VERSION_OPTIONS, command)


def matrix_options(command: _Command) -> _Command:
    """All that decides which cells there are, and how each is run."""
    return _add([*_MATRIX_OPTIONS, *_MACHINE_OPTIONS, _OUTPUT, _JOBS, *_FILE_OPTIONS], command)


def cell_options(command: _Command) -> _Command:
    """The same for a command that runs none of them, and that has an ``--output`` of its own."""
    return _add([*_MATRIX_OPTIONS, *_MACHINE_OPTIONS, *_FILE_OPTIONS], command)


def report_options(command: _Command) -> _Command:
    """Where else a whole run is to be told."""
    return _add(_REPORT_OPTIONS, command)


def _add(options: Sequence[_Decorator], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def configure(
    options: Mapping[str, Any],
    *,
    file: Path | None = None,
    no_config: bool = True,
    chosen: str = "",
) -> tuple[Config, Path | None]:
    """The configuration that these options come to, and the file that it rests on, if any.

    An option that was not given is None, or has no values, and leaves its key to the file.
    """
    here = Path.cwd()
    path = None if no_config else file or find(here)
    given = {key: value for key, value in options.items() if value is not None and value != ()}
    if any(map(has_password, given.get("mongodb", ()))):
        say(
            "warning: every user of this machine can read the password of --mongodb in the list of "
            "processes; use --mongodb env:NAME, file:PATH, or - for a line of standard input",
            err=True,
        )
    loaded = load(path, found_from=None if file else here) if path else None
    # Paths are relative to where we are, not to the file.
    config = combine(loaded, chosen, anchored(given, Path.cwd()))
    if not config.mod_wsgi and (module := os.environ.get("MOD_WSGI_SO")):
        config = msgspec.structs.replace(config, mod_wsgi=(absolute(module, Path.cwd()),))
    if config.control in CONTROLS:
        control = CONTROLS[config.control]
        config = msgspec.structs.replace(config, maximum_requests=control.maximum_requests)
        if "phases" not in given:
            config = msgspec.structs.replace(config, phases=control.phases)
    return config, path


def command_line() -> str:
    """How we were started, for the record, without a deployment's URI: it may hold a password."""
    return shlex.join(["wsgiproof", *map(without_uris, sys.argv[1:])])


def without_uris(text: str) -> str:
    """``text`` without the URI of a deployment, and what follows it."""
    return re.sub(r"mongodb(\+srv)?://.*", "URI", text)


def print_json(value: Any, *, indent: int = 2) -> None:
    """Print ``value`` as JSON, indented, or in one line where ``indent`` is 0.

    What would steer a terminal or a CI system is escaped; the value is the same.
    """
    content = as_json(value)
    text = (msgspec.json.format(content, indent=indent) if indent else content).decode()
    say(_NOT_PLAIN.sub(_escaped, text).replace("##", "#\\u0023"))


def _escaped(match: re.Match[str]) -> str:
    shown = match[0].isprintable() and sys.stdout.encoding.lower().replace("-", "") == "utf8"
    return match[0] if shown else json.dumps(match[0])[1:-1]


def progress_on(console: Console) -> LiveProgress | PlainProgress:
    from wsgiproof.report.progress import LiveProgress, PlainProgress

    progress = LiveProgress(console) if console.is_terminal else PlainProgress(console)
    if isinstance(shown := click.get_current_context().obj, list):
        shown.append(progress)  # main() asks it where results go
    return progress


def note(line: str) -> None:
    """A line for the user, beside the output."""
    say(f"wsgiproof: {one_line(line)}", err=True)


def read_run(directory: Path) -> RunRecord:
    """The run that was left in ``directory``; the user is told if it had to be rebuilt."""
    return load_run(directory, note)


def make_console(*, stderr: bool = False) -> Console:
    """Where output goes. A log has no width, so nothing is cut or folded for it."""
    from wsgiproof.report.console import SafeConsole

    console = SafeConsole(highlight=False, stderr=stderr)
    if console.is_terminal:
        return console
    return SafeConsole(highlight=False, stderr=stderr, width=_LOG_WIDTH)
