"""What several commands have in common: their options, and where their output goes."""

from __future__ import annotations

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
from wsgiproof.config import Config, Profile
from wsgiproof.configfile import absolute, anchored, combine, find, load
from wsgiproof.records import ExtraPhase
from wsgiproof.subjects.controls import CONTROLS
from wsgiproof.uri import has_password

if TYPE_CHECKING:
    from rich.console import Console

    from wsgiproof.report.progress import LiveProgress, PlainProgress

_LOG_WIDTH = 200
_Command = Callable[..., Any]
_Decorator = Callable[[_Command], _Command]

EXIT_CODES = """\b
Exit codes:
  0    every check of every cell passed
  1    a finding: something is wrong with the subject
  2    the command line is wrong, or names something that does not exist
  3    at least one cell could not be decided or could not be run
  130  interrupted
"""


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
        "--overtime",
        type=int,
        metavar="N",
        help="Requests that may be added, at most, where the load does not decide; 0: none.  "
        "[default: one and a half times the load]",
    ),
    click.option(
        "--budget",
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
        "--quiet",
        type=float,
        metavar="SECONDS",
        help="How long the phase idle watches a server without a request.  [default: 30]",
    ),
    click.option(
        "--outage",
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
        "upwards from here.",
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
    path = None if no_config else file or find(Path.cwd())
    given = {key: value for key, value in options.items() if value is not None and value != ()}
    if any(map(has_password, given.get("mongodb", ()))):
        click.echo(
            "warning: every user of this machine can read the password of --mongodb in the list of "
            "processes; use --mongodb env:NAME, file:PATH, or - for a line of standard input",
            err=True,
        )
    loaded = load(path) if path else None
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
    words = ["wsgiproof"]
    for word in sys.argv[1:]:
        words.append(re.sub(r"mongodb(\+srv)?://.*", "URI", word))
    return shlex.join(words)


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def progress_on(console: Console) -> LiveProgress | PlainProgress:
    from wsgiproof.report.progress import LiveProgress, PlainProgress

    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


def make_console(*, stderr: bool = False) -> Console:
    """Where output goes. A log has no width, so nothing is cut or folded for it."""
    from rich.console import Console

    console = Console(highlight=False, stderr=stderr)
    if console.is_terminal:
        return console
    return Console(highlight=False, stderr=stderr, width=_LOG_WIDTH)
