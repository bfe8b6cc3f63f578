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
import cloup
import msgspec

from wsgiproof.cli import completion
from wsgiproof.cli.help import option
from wsgiproof.cli.output import say
from wsgiproof.config.file import absolute, anchored, combine, find, load
from wsgiproof.config.model import Config, Profile
from wsgiproof.errors import did_you_mean, one_line
from wsgiproof.records.cell import InterpreterKind, Mode, Mpm, Topology
from wsgiproof.records.directory import load_run
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.records.run import RunRecord, as_json
from wsgiproof.subjects.pymongo.uri import has_password
from wsgiproof.subjects.registry import known_controls

if TYPE_CHECKING:
    from rich.console import Console

    from wsgiproof.report.progress import LiveProgress, PlainProgress

_LOG_WIDTH = 200
_NOT_PLAIN = re.compile(r"[^\n -~]")
_FEW = 8
"""Choices that a message lists; of more, it names the nearest."""
LISTED = " lists them all."
"""The end of a message that names a command with every choice."""
_Command = Callable[..., Any]
_Decorator = Callable[[_Command], _Command]

PATH = click.Path(path_type=Path)
RUN_CODES = {
    0: "every check of every cell passed",
    1: "a finding: something is wrong with the subject",
    2: "the command line is wrong, or names something that does not exist",
    3: "at least one cell could not be decided or could not run",
}


class Choices(click.Choice[str]):
    """Values to choose from. The message about another value names the nearest, or a few."""

    def __init__(self, values: Sequence[str], *, listed_by: str = "") -> None:
        """``listed_by`` is a command that lists the values, where they are many."""
        super().__init__([str(value) for value in values])
        self._listed_by = listed_by

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Say what is wrong, and what may have been meant."""
        near = did_you_mean(str(value), self.choices)
        if len(self.choices) <= _FEW:
            return f"'{value}' is not one of {', '.join(self.choices)}{near}"
        return f"'{value}' does not exist{near or '.'} '{self._listed_by}'{LISTED}"


CONTROL = Choices(sorted(known_controls()), listed_by="wsgiproof selftest --list")


def axis_option(name: str, metavar: str, text: str, **attributes: Any) -> _Decorator:
    """An option that may be given more than once; its key in a file has the same name."""
    return option(f"--{name}", multiple=True, metavar=metavar, help=text, **attributes)


def _phases(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> list[str] | None:
    """The phases of a list. No phase at all is a value, too: an empty list, where a tuple would
    mean that the option was not given."""
    if value is None:
        return None
    if value in ("all", "none"):
        return list(ExtraPhase) if value == "all" else []
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in list(ExtraPhase):
            near = did_you_mean(name, ExtraPhase)
            raise click.BadParameter(
                f"'{name}' is not one of {', '.join(ExtraPhase)}, all, none{near}",
                context,
                parameter,
            )
    return names


_PYTHON = axis_option(
    "python",
    "VERSION|PATH",
    "The Python to embed: 3.12, 3.12.1, 3.13t, or a path.\n"
    "3.12 is the newest 3.12 on this machine; an environment stands for its base; "
    "'wsgiproof doctor --pythons' lists them. Default: the Python of wsgiproof, or else the first "
    "that mod_wsgi can embed.",
    shell_complete=completion.pythons,
)
_MPM = axis_option(
    "mpm",
    "NAME",
    "Apache's multi-processing module.\nprefork, worker or event.  [default: prefork]",
    type=Choices(list(Mpm)),
    rare=True,
)
_MONGODB = axis_option(
    "mongodb",
    "PATH|URI|NAME",
    "The mongod to start, or a deployment to use.\n"
    "NAME is one of mongodb_servers in the file. In a deployment, wsgiproof uses a database of its "
    "own. Keep a URI with a password off the command line: env:NAME, file:PATH, or - for a line of "
    "standard input. Default: the mongod on this machine.",
    shell_complete=completion.servers,
)
_HTTPD = option(
    "--httpd",
    metavar="PATH",
    shell_complete=completion.file,
    help="Apache's server.\nDefault: that of the apxs on PATH. Without one, wsgiproof builds its "
    "own, once.",
    rare=True,
)
_APXS = option(
    "--apxs",
    metavar="PATH",
    shell_complete=completion.file,
    help="Apache's apxs.\nDefault: the one beside the server.",
    rare=True,
)
_OUTPUT = option(
    "--output",
    metavar="DIR",
    shell_complete=completion.directory,
    help="Where results go.\nDefault: wsgiproof-results/TIME.",
)
_JOBS = option(
    "--jobs",
    type=int,
    metavar="N",
    help="Cells at the same time.\n[default: half the number of cores]",
)
_MOD_WSGI = axis_option(
    "mod-wsgi",
    "VERSION|PATH",
    "mod_wsgi: 5.0.2, 5 (the newest 5.x), latest, a path.\n"
    "A path is a .so, a source tree or its archive. Default: the .so that the environment variable "
    "MOD_WSGI_SO names, or latest.",
    shell_complete=completion.mod_wsgis,
)
_PYMONGO = axis_option(
    "pymongo",
    "VERSION|PATH",
    "PyMongo: 4.20.0, 4.20 (the newest 4.20.x), a path.\n"
    "Or latest (the default), or min: the oldest with a wheel. A path is a wheel, a source "
    "checkout such as '.', or an archive of one.",
    shell_complete=completion.pymongos,
)
_SUBJECT_OPTIONS: list[_Decorator] = [
    _PYTHON,
    _MOD_WSGI,
    _PYMONGO,
    axis_option(
        "topology",
        "NAME",
        "standalone, replica-set or none (no MongoDB).\n"
        "With none, PyMongo encodes and decodes only.  [default: standalone and replica-set]",
        type=Choices(list(Topology)),
    ),
    axis_option(
        "mode",
        "NAME",
        "daemon or embedded.\nThe modes of mod_wsgi.  [default: both]",
        type=Choices(list(Mode)),
    ),
    _MPM,
    axis_option(
        "interpreter",
        "KIND",
        "main, shared-gil, own-gil or free-threaded.\n"
        "own-gil needs Python 3.12, free-threaded a build such as 3.13t.  [default: shared-gil]",
        type=Choices(list(InterpreterKind)),
    ),
    _MONGODB,
    option(
        "--app",
        metavar="FILE",
        shell_complete=completion.file,
        help="Your WSGI script, in place of the built-in one.\n"
        "It finds its deployment in environ['wsgiproof.mongodb_uri'] and "
        "['wsgiproof.database'], and at import in os.environ['WSGIPROOF_MONGODB_URI'] and "
        "['WSGIPROOF_DATABASE'].",
    ),
    option(
        "--requirement",
        multiple=True,
        metavar="PACKAGE",
        shell_complete=completion.file,
        help="Install this beside PyMongo: 'flask==3.1'.\n"
        "Or all that a file such as requirements.txt lists. May be given several times.",
    ),
    option(
        "--expect-status",
        type=int,
        multiple=True,
        metavar="CODE",
        help="A status that is right, such as 302.\nBeside 200 to 299. May be given several times.",
        rare=True,
    ),
    option(
        "--expect-body",
        metavar="REGEX",
        help="Require a match in the body of each answer.",
        rare=True,
    ),
    option(
        "--constraint",
        metavar="FILE",
        shell_complete=completion.file,
        help="A constraints file, as for pip.",
        rare=True,
    ),
    option(
        "--control",
        type=CONTROL,
        metavar="NAME",
        help="A planted fault, or its negative control.\n"
        "It shows what wsgiproof reports of it; 'wsgiproof selftest --list' lists them.",
        rare=True,
    ),
    option(
        "--sub-interpreters",
        type=int,
        metavar="N",
        help="Sub interpreters in each process.\n[default: 2]",
        rare=True,
    ),
    option(
        "--maximum-requests",
        type=int,
        metavar="N",
        help="Replace each process after N requests.\n"
        "As mod_wsgi's option of that name does.  [default: 0, never]",
        rare=True,
    ),
    _HTTPD,
    _APXS,
    option(
        "--home",
        metavar="DIRECTORY",
        help="The working directory of daemon processes.\n"
        "As the option home= of WSGIDaemonProcess. Without it: '/', as under a system's Apache.",
        rare=True,
    ),
    option(
        "--directive",
        multiple=True,
        metavar="LINE",
        help="A line to add to Apache's configuration.\n"
        "It comes last, such as 'WSGIDestroyInterpreter Off'. May be given several times.",
        rare=True,
    ),
]
_LOAD_OPTIONS: list[_Decorator] = [
    option(
        "--profile",
        type=Choices(list(Profile)),
        metavar="NAME",
        help="quick (3,000 requests a cell) or full (50,000).\n"
        "quick: 2,000 in parallel and 1,000 in series; full: 25,000 and 25,000.  [default: quick]",
    ),
    option("-n", "--requests", type=int, metavar="N", help="Requests for each cell."),
    option(
        "-c",
        "--connections",
        type=int,
        metavar="N",
        help="Requests in flight at once.\n[default: 100]",
        rare=True,
    ),
    option(
        "--extra-requests",
        type=int,
        metavar="N",
        help="Most requests to add.\n"
        "They are added where the load does not decide; 0: none.  [default: 1.5 times the load]",
        rare=True,
    ),
    option(
        "--max-seconds",
        type=float,
        metavar="SECONDS",
        help="Cut a cell's load short after this time.\nThe cell is judged by what was seen.",
        rare=True,
    ),
]
_PHASE_OPTIONS: list[_Decorator] = [
    option(
        "--phases",
        callback=_phases,
        metavar="LIST",
        shell_complete=completion.phases,
        help="restart,reload,failover,idle; or all, or none.\n"
        "What is tried beyond load and the stop. restart: gracefully; reload: the script is "
        "touched, in daemon mode; failover: only on a deployment that wsgiproof started.  "
        "[default: restart]",
    ),
    option(
        "--restarts",
        type=int,
        metavar="N",
        help="Graceful restarts in a row, and reloads.\n[default: 1]",
        rare=True,
    ),
    option(
        "--idle-seconds",
        type=float,
        metavar="SECONDS",
        help="How long the phase idle lasts.\n"
        "It watches a server without a request.  [default: 30]",
        rare=True,
    ),
    option(
        "--drain-seconds",
        type=float,
        metavar="SECONDS",
        help="How long something may live without being a leak.\n"
        "What grew has to be there after so long without a request.  [default: 6]",
        rare=True,
    ),
    option(
        "--fault-seconds",
        type=float,
        metavar="SECONDS",
        help="How long each fault of failover lasts.\n"
        "Members are paused or gone for so long.  [default: 3]",
        rare=True,
    ),
]
_LIMIT_OPTIONS: list[_Decorator] = [
    option(
        "--max-files",
        type=float,
        metavar="N",
        help="Files that 100 requests may leave.\n"
        "An application may have to keep some, such as uploads.  [default: 1]",
        rare=True,
    ),
    option(
        "--max-slowdown",
        type=float,
        metavar="RATIO",
        help="How much slower requests may get.\n"
        "The time of the last requests, as a multiple of that of the first ones.  [default: 2]",
        rare=True,
    ),
    option(
        "--max-latency",
        type=float,
        metavar="SECONDS",
        help="How long a request may take.\n"
        "By default the check latency only mentions the slowest one.",
        rare=True,
    ),
]
_FILE_OPTIONS: list[_Decorator] = [
    option(
        "--set",
        "chosen",
        metavar="NAME",
        default="",
        shell_complete=completion.sets,
        help="A named set of the configuration file.",
    ),
    option(
        "--config",
        "file",
        type=PATH,
        metavar="FILE",
        help="The configuration file.\n"
        "Default: the nearest wsgiproof.toml, or pyproject.toml with [tool.wsgiproof], from here "
        "upwards, if it and the directories down to here belong to you or to root.",
        rare=True,
    ),
    option("--no-config", is_flag=True, help="Read no configuration file.", rare=True),
]
JUNIT = option(
    "--junit",
    metavar="FILE",
    type=PATH,
    help="Write JUnit XML.\nIt has a test case for each planned cell.",
)


def summary_option(*, rare: bool = False) -> _Decorator:
    """Add the option of a file for a pull request."""
    return option(
        "--summary",
        metavar="FILE",
        type=PATH,
        help="Write Markdown, for a pull request.",
        rare=rare,
    )


def machine_options(command: _Command) -> _Command:
    """Add what is to be looked for on the machine."""
    options = [_PYTHON, _MPM, _MONGODB, _HTTPD, _APXS, _OUTPUT, _JOBS]
    return _add(options, command)


def version_options(command: _Command) -> _Command:
    """Add which mod_wsgi, and which PyMongo."""
    return _add([_MOD_WSGI, _PYMONGO], command)


def matrix_options(
    *, execution: Sequence[_Decorator] = (), output: Sequence[_Decorator] = ()
) -> _Decorator:
    """Add all that decides which cells there are and how each is run; with options of the
    command's own in two of the groups."""
    return _grouped([_JOBS, *execution], [_OUTPUT, *output])


def cell_options(*, output: Sequence[_Decorator]) -> _Decorator:
    """Add the same for a command that runs no cell, and that has an ``--output`` of its own."""
    return _grouped([], output)


def _grouped(execution: Sequence[_Decorator], output: Sequence[_Decorator]) -> _Decorator:
    groups = {
        "What to test": _SUBJECT_OPTIONS,
        "Load": _LOAD_OPTIONS,
        "Phases": _PHASE_OPTIONS,
        "Limits": _LIMIT_OPTIONS,
        "Execution": execution,
        "Output": output,
        "Configuration": _FILE_OPTIONS,
    }
    cells = click.argument("only", metavar="[CELL]...", nargs=-1, shell_complete=completion.cells)

    def add(command: _Command) -> _Command:
        made = [cloup.option_group(name, *options) for name, options in groups.items() if options]
        return _add([cells, *made], command)

    return add


def report_options(command: _Command) -> _Command:
    """Add where else a whole run is to be reported."""
    return _add([JUNIT, summary_option()], command)


def _add(options: Sequence[_Decorator], command: _Command) -> _Command:
    for add in reversed(options):
        command = add(command)
    return command


def configure(
    options: Mapping[str, Any],
    *,
    file: Path | None = None,
    no_config: bool = True,
    chosen: str = "",
) -> tuple[Config, Path | None]:
    """Return the configuration, and the file that it uses, if any.

    An option that was not given is None, or has no values. The file decides its key then.
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
    # Paths on the command line are relative to the working directory, not to the file.
    config = combine(loaded, chosen, anchored(given, Path.cwd()))
    if not config.mod_wsgi and (module := os.environ.get("MOD_WSGI_SO")):
        config = msgspec.structs.replace(config, mod_wsgi=(absolute(module, Path.cwd()),))
    if control := known_controls().get(config.control):
        config = msgspec.structs.replace(config, maximum_requests=control.maximum_requests)
        if "phases" not in given:
            config = msgspec.structs.replace(config, phases=control.phases)
    return config, path


def command_line() -> str:
    """Return the command line for the record, without a deployment's URI: it may hold a
    password."""
    return shlex.join(["wsgiproof", *map(without_uris, sys.argv[1:])])


def without_uris(text: str) -> str:
    """Return ``text`` without the URI of a deployment and what follows it."""
    return re.sub(r"mongodb(\+srv)?://.*", "URI", text)


def print_json(value: Any, *, indent: int = 2) -> None:
    """Print ``value`` as JSON, indented, or in one line where ``indent`` is 0.

    Characters that would steer a terminal or a CI system are escaped; the value stays the same.
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
    """Print a line for the user to standard error."""
    say(f"wsgiproof: {one_line(line)}", err=True)


def read_run(directory: Path) -> RunRecord:
    """Read the run in ``directory``; a note to the user says if it had to be rebuilt."""
    return load_run(directory, note)


def make_console(*, stderr: bool = False) -> Console:
    """Make the console for all output. In a log nothing is cut or folded: it has no width."""
    from wsgiproof.report.console import SafeConsole

    console = SafeConsole(highlight=False, stderr=stderr)
    if console.is_terminal:
        return console
    return SafeConsole(highlight=False, stderr=stderr, width=_LOG_WIDTH)
