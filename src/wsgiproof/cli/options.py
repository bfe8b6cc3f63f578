"""What several commands have in common: their options, and where their output goes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup
import msgspec

from wsgiproof.cli import completion
from wsgiproof.cli.choices import Choices
from wsgiproof.cli.help import option
from wsgiproof.cli.output import say
from wsgiproof.config.axes import ALL_AXES, MOD_WSGI, MPM
from wsgiproof.config.file import anchored, combine, find, lifted, load
from wsgiproof.config.model import Config, Profile
from wsgiproof.config.own_conf import with_own_conf
from wsgiproof.errors import did_you_mean, one_line
from wsgiproof.records.cell import Resolution
from wsgiproof.records.listed import Listed
from wsgiproof.records.plan import ExtraPhase
from wsgiproof.records.reading import load_list, load_run
from wsgiproof.records.run import RunRecord, as_json
from wsgiproof.subjects.axis import Axis, absolute
from wsgiproof.subjects.registry import DEFAULT, SUBJECTS, known_controls

if TYPE_CHECKING:
    from rich.console import Console

    from wsgiproof.report.progress import LiveProgress, PlainProgress

_LOG_WIDTH = 200
_NOT_PLAIN = re.compile(r"[^\n -~]")
_Command = Callable[..., Any]
_Decorator = Callable[[_Command], _Command]

PATH = click.Path(path_type=Path)
CONTROL = Choices(sorted(known_controls()), listed_by="wsgiproof selftest --list")


def _axis_option(axis: Axis) -> _Decorator:
    """The option of an axis, which may be given more than once."""
    return option(
        axis.option,
        multiple=True,
        metavar=axis.metavar,
        help=axis.help,
        rare=axis.rare,
        **({"type": Choices(axis.choices)} if axis.choices else _completed(axis)),
    )


def _completed(axis: Axis) -> dict[str, Any]:
    return {"shell_complete": completion.axis(axis)}


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


_APXS = option(
    "--apxs",
    metavar="PATH",
    shell_complete=completion.file,
    help="The apxs of the only --httpd.\nDefault: the one beside the server.",
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
_CONNECTIONS = "; ".join(one.found_by_app for one in SUBJECTS.values() if one.found_by_app)
_SUBJECT = option(
    "--subject",
    type=Choices([*SUBJECTS]),
    metavar="NAME",
    help=f"What is tested: {', '.join(SUBJECTS)}.\n[default: {DEFAULT.name}]",
    rare=True,
)
_SUBJECT_OPTIONS: list[_Decorator] = [
    _SUBJECT,
    *map(_axis_option, ALL_AXES.values()),
    option(
        "--app",
        metavar="FILE",
        shell_complete=completion.file,
        help="Your WSGI script, in place of the built-in one.\n"
        "It finds its backend in environ and os.environ: " + _CONNECTIONS,
    ),
    option(
        "--httpd-conf",
        metavar="FILE",
        shell_complete=completion.file,
        help="Your own httpd.conf, in place of wsgiproof's.\n"
        "It is run unchanged, with the probe beside the application; its variables have the values "
        "of the environment. Each --url is requested.",
        rare=True,
    ),
    option(
        "--url",
        multiple=True,
        metavar="URL",
        help="A URL or path that --httpd-conf serves.\nMay be given several times.",
        rare=True,
    ),
    option(
        "--requirement",
        multiple=True,
        metavar="PACKAGE",
        shell_complete=completion.file,
        help="Install this beside the subject: 'flask==3.1'.\n"
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
        "--resolution",
        type=Choices(list(Resolution)),
        metavar="NAME",
        help="highest, lowest-direct or lowest dependencies.\n"
        "As uv's option. lowest-direct: the oldest versions that the subject and --requirement "
        "allow of what they need themselves. Not for Python 2.7.  [default: highest]",
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
        "--virtual-hosts",
        is_flag=True,
        default=None,
        help="A virtual host for each sub interpreter.\n"
        "With a ServerName of its own. The application group is mod_wsgi's default, %{RESOURCE}: "
        "server name, port and mount point.",
        rare=True,
    ),
    option(
        "--processes",
        type=int,
        metavar="N",
        help="Processes that run the application.\n"
        "[default: 1 in daemon mode; embedded 4 with prefork, else 2]",
        rare=True,
    ),
    option(
        "--min-processes",
        type=int,
        metavar="N",
        help="Processes that Apache keeps without load.\n"
        "In embedded mode it then starts others under load, up to --processes, and ends them "
        "again.  [default: their number is constant]",
        rare=True,
    ),
    option(
        "--threads",
        type=int,
        metavar="N",
        help="Request threads in each process.\n"
        "[default: 15 in daemon mode; embedded 1 with prefork, else 8]",
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
    option(
        "--access-log",
        is_flag=True,
        default=None,
        help="Log all requests, in access.log of the cell.\n"
        "In the format combined, with the time that each took and who answered it.",
        rare=True,
    ),
    option(
        "--shared-tmp",
        is_flag=True,
        default=None,
        help="Let Apache share /tmp with the machine.\n"
        "And /var/tmp, /dev/shm and System V objects. Else it has its own, if root starts it.",
        rare=True,
    ),
]
_LOAD_OPTIONS: list[_Decorator] = [
    option(
        "--profile",
        type=Choices(list(Profile)),
        metavar="NAME",
        help="quick (some 1,400 requests a cell) or full (50,000).\n"
        "quick: --sensitivity 250; full: 25,000 in parallel, 25,000 in series.  [default: quick]",
    ),
    option("-n", "--requests", type=int, metavar="N", help="Requests for each cell."),
    option(
        "--sensitivity",
        type=int,
        metavar="N",
        help="Load until a leak of one in N requests would show.\n"
        "With a probability of 99 %: that takes 5.4 N requests if nothing grows, and more where "
        "something does. Two thirds come in parallel.  [default: 250, unless -n or the profile "
        "says how many]",
        rare=True,
    ),
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
        help="restart,reload,failover,trials,idle; or all, or none.\n"
        "What is tried beyond load and the stop. restart: gracefully; reload: the script is "
        "touched, in daemon mode; failover: only on a deployment that wsgiproof started; trials: "
        "processes start and end, see --crash-bound.  [default: restart,trials]",
    ),
    option(
        "--restarts",
        type=int,
        metavar="N",
        help="Graceful restarts in a row, and reloads.\n[default: 1]",
        rare=True,
    ),
    option(
        "--crash-bound",
        type=float,
        metavar="P",
        help="How often an end of a process may crash unseen.\n"
        "The phase trials goes on until a crash with this probability would have shown (95 %).  "
        "[default: 0.2, which takes 14 ends; --profile full: 0.01]",
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
        "--max-file-growth",
        type=float,
        metavar="BYTES",
        help="By how much files may grow for each request.\n"
        "By default the check files only mentions it, since an application may log.",
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
    option(
        "--accept-known-upstream",
        is_flag=True,
        default=None,
        help="Accept known bugs of somebody else.\n"
        "Findings that the catalog calls a bug of mod_wsgi, CPython or another package than the "
        "subject are shown, and fail nothing. Tables [[known]] of the file accept others.",
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
    option(
        "--plan",
        "listed",
        type=PATH,
        metavar="FILE",
        help="Take the versions that were listed.\n"
        "FILE is the output of 'wsgiproof list --json' with the same options: 'latest' means here "
        "what it meant there, also after a release.",
        rare=True,
    ),
]
RESUME = option(
    "--resume",
    type=PATH,
    metavar="DIR",
    help="Finish the interrupted run in DIR.\n"
    "Cells that have ended there with the same inputs are kept.",
)
DASK = option(
    "--dask",
    metavar="ADDRESS",
    help="Run the cells in the workers of a Dask cluster.\n"
    "The address of its scheduler, such as tcp://10.0.0.1:8786; or 'local', for --jobs workers "
    "on this machine.",
    rare=True,
)
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
    """Add what is to be looked for on the machine: what has no version on the index."""
    looked_for = [axis for axis in ALL_AXES.values() if not axis.package and not _is_free(axis)]
    options = [_SUBJECT, *map(_axis_option, looked_for), _APXS, _OUTPUT, _JOBS]
    return _add(options, command)


def _is_free(axis: Axis) -> bool:
    """Whether all of its values are there on any machine."""
    return axis.anywhere or (bool(axis.choices) and axis is not MPM)


def version_options(command: _Command) -> _Command:
    """Add which versions of mod_wsgi and of the subject."""
    return _add([_axis_option(axis) for axis in ALL_AXES.values() if axis.package], command)


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
    for axis in ALL_AXES.values():
        if any(map(axis.exposed, given.get(axis.name, ()))):
            say(
                f"warning: every user of this machine can read the password of {axis.option} in "
                f"the list of processes; use {axis.option} env:NAME, file:PATH, or - for a line of "
                "standard input",
                err=True,
            )
    loaded = load(path, found_from=None if file else here) if path else None
    # Paths on the command line are relative to the working directory, not to the file.
    config = combine(loaded, chosen, anchored(lifted(given), Path.cwd()))
    if MOD_WSGI.name not in config.axes and (module := os.environ.get("MOD_WSGI_SO")):
        config = config.with_axes(mod_wsgi=(absolute(module, Path.cwd()),))
    if control := known_controls().get(config.control):
        config = msgspec.structs.replace(config, **control.configuration)
        needed = {axis: (one,) for axis, one in control.axes.items() if axis not in config.axes}
        config = config.with_axes(**needed)
        if "phases" not in given:
            config = msgspec.structs.replace(config, phases=control.phases)
    return with_own_conf(config, os.environ), path


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


def read_list(path: Path | None) -> Listed | None:
    """Read the list that ``--plan`` names, if it names any."""
    return load_list(path) if path else None


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
