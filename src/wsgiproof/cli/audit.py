"""``wsgiproof audit``: what installed packages do in interpreters that are not the only ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from packaging.requirements import InvalidRequirement, Requirement

from wsgiproof.cli import completion
from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import (
    PATH,
    Choices,
    command_line,
    make_console,
    print_json,
    progress_on,
)
from wsgiproof.config.axes import MOD_WSGI
from wsgiproof.config.model import MOST_SUB_INTERPRETERS
from wsgiproof.config.requirements import requirements as expand
from wsgiproof.errors import UsageError
from wsgiproof.records.cell import InterpreterKind

if TYPE_CHECKING:
    from rich.console import Console

    from wsgiproof.records.audit import Audit
    from wsgiproof.run.deep import Deep

_EXAMPLES = (
    "wsgiproof audit cryptography bcrypt==4.2.1",
    "wsgiproof audit -r requirements.txt --python 3.11 --python 3.13",
    "wsgiproof audit --env /srv/site/venv --interpreter shared-gil --trials 20",
    "wsgiproof audit lxml numpy --deep --mod-wsgi 5.0.2",
    "wsgiproof audit bcrypt --python 3.11 --find-working",
)
_CODES = {
    0: "all that was tried works",
    1: "a package fails in a kind of interpreter that was asked for",
    2: "the command line is wrong, or names something that does not exist",
    3: "something is unknown or can't be installed, or nothing could be tried",
}
_RELEASES = 10
_DEFAULT_KIND = InterpreterKind.SHARED_GIL


@command("audit", examples=_EXAMPLES, codes=_CODES)
@click.argument("packages", metavar="[PACKAGE[==VERSION]]...", nargs=-1)
@option(
    "-r",
    "--requirement",
    "files",
    multiple=True,
    metavar="FILE",
    shell_complete=completion.file,
    help="A requirements file, as for pip.\nMay be given several times.",
)
@option(
    "--env",
    type=PATH,
    metavar="VENV",
    shell_complete=completion.directory,
    help="An existing environment, in place of packages.\nIt is read, and nothing is installed.",
)
@option(
    "--python",
    "pythons",
    multiple=True,
    metavar="VERSION|PATH",
    shell_complete=completion.pythons,
    help="A Python to install for.\n"
    "As for 'wsgiproof run'; 'wsgiproof doctor --pythons' lists them. May be given several times.",
)
@option(
    "--interpreter",
    "kinds",
    multiple=True,
    type=Choices(list(InterpreterKind)),
    metavar="KIND",
    help="main, shared-gil, own-gil or free-threaded.\n"
    "The main interpreter is always tried as well, as the control. May be given several times.  "
    f"[default: {_DEFAULT_KIND}, which is mod_wsgi's]",
)
@option(
    "--all",
    "everything",
    is_flag=True,
    help="Try packages without compiled code, too.",
)
@option(
    "--trials",
    type=click.IntRange(min=1, max=1000),
    metavar="N",
    default=5,
    help="Processes for each package and kind.\n"
    "A crash at the end need not happen each time.  [default: 5]",
)
@option(
    "--timeout",
    type=click.FloatRange(min=1, max=3600),
    metavar="SECONDS",
    default=60.0,
    help="How long one process may take.\n[default: 60]",
)
@option(
    "--jobs",
    type=click.IntRange(min=1, max=256),
    metavar="N",
    help="Packages at the same time.\n[default: the number of cores]",
)
@option(
    "--find-working",
    is_flag=True,
    help="Look for releases that work, of what fails.\n"
    "Newer and older ones from the index are installed and tried, the nearest ones first.",
)
@option(
    "--releases",
    type=click.IntRange(min=1, max=100),
    metavar="N",
    help="Other releases to try of each package.\nFor --find-working, at most.  [default: 10]",
)
@option(
    "--deep",
    is_flag=True,
    help="Try each package in real Apache, too.\n"
    "An application uses it in each request, and all checks of 'wsgiproof run' judge that: about "
    "a minute for each package and kind.",
)
@option(
    "--mod-wsgi",
    metavar="VERSION|PATH",
    default="",
    shell_complete=completion.axis(MOD_WSGI),
    help="mod_wsgi for --deep.\nAs for 'wsgiproof run'.  [default: latest]",
)
@option(
    "--sub-interpreters",
    type=click.IntRange(min=1, max=MOST_SUB_INTERPRETERS),
    metavar="N",
    help="Sub interpreters for --deep, in each process.\n[default: 2]",
)
@option(
    "-n",
    "--requests",
    type=click.IntRange(min=1),
    metavar="N",
    help="Requests of each cell of --deep.\n[default: 3000]",
)
@option(
    "-o",
    "--output",
    type=PATH,
    metavar="DIR",
    shell_complete=completion.directory,
    help="Where audit.json goes.\nDefault: wsgiproof-results/TIME.",
)
@option("--json", "as_json", is_flag=True, help="Print audit.json; progress goes to stderr.")
def audit_command(
    packages: tuple[str, ...],
    files: tuple[str, ...],
    env: Path | None,
    pythons: tuple[str, ...],
    kinds: tuple[str, ...],
    everything: bool,
    trials: int,
    timeout: float,
    jobs: int | None,
    find_working: bool,
    releases: int | None,
    deep: bool,
    mod_wsgi: str,
    sub_interpreters: int | None,
    requests: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Try packages in sub interpreters, without Apache.

    Each PACKAGE with compiled code, and each that it needs, is imported in the main interpreter of
    a process, and then in two sub interpreters of others, which end. What differs is reported. The
    packages run as an unprivileged user if wsgiproof is root, without a network where the kernel
    allows that.
    """
    from wsgiproof.audit.session import Request, audit, check
    from wsgiproof.files import write_output
    from wsgiproof.judge.audited import exit_code
    from wsgiproof.process.account import server_account
    from wsgiproof.provision.python import choose_all
    from wsgiproof.records.audit import AUDIT
    from wsgiproof.records.directory import make_private_directory
    from wsgiproof.records.run import as_json as encoded
    from wsgiproof.report.audited import show_audit
    from wsgiproof.report.builds import StepProgress
    from wsgiproof.run.deep import Deep, DeepRequest, pythons_of

    required = _required(packages, files)
    if bool(required) == (env is not None):
        raise UsageError("name packages, a file with -r, or an environment with --env: one of them")
    if releases and not find_working:
        raise UsageError("--releases is for --find-working")
    if (mod_wsgi or sub_interpreters or requests) and not deep:
        raise UsageError("--mod-wsgi, --sub-interpreters and --requests are for --deep")
    if env is not None and pythons:
        raise UsageError("--env has its own Python: leave --python out")
    request = Request(
        requirements=required,
        env=env,
        pythons=() if env else choose_all(pythons or ("",), server_account()),
        kinds=tuple(dict.fromkeys(map(InterpreterKind, kinds or (_DEFAULT_KIND,)))),
        everything=everything,
        jobs=jobs or os.cpu_count() or 1,
        timeout=timeout,
        trials=trials,
        releases=(releases or _RELEASES) if find_working else 0,
        command=command_line(),
    )
    check(request)
    in_apache = DeepRequest(
        kinds=request.kinds,
        mod_wsgi=mod_wsgi,
        sub_interpreters=sub_interpreters or 2,
        requests=requests,
    )
    # Before anything is tried, if the Pythons are known.
    tier = Deep(in_apache, request.pythons) if deep and not env else None
    directory = make_private_directory(output, AUDIT)
    console = make_console(stderr=as_json)
    with StepProgress(console) as progress:
        record = audit(request, progress)
    saved = directory / AUDIT
    write_output(encoded(record), saved)
    if deep:
        tier = tier or Deep(in_apache, pythons_of(record))
        record = _tried_in_apache(tier, record, directory, console)
        write_output(encoded(record), saved)
    show_audit(console, record, str(saved))
    if as_json:
        print_json(record)
    raise SystemExit(exit_code(record.environments))


def _tried_in_apache(tier: Deep, record: Audit, directory: Path, console: Console) -> Audit:
    """Return the record with the deep tier, after saying where its report is."""
    from rich.text import Text

    from wsgiproof.report.html.page import leave_page
    from wsgiproof.subjects.registry import rules_of

    with progress_on(console) as progress:
        record, run = tier.run(record, directory, progress)
    assert progress.output is not None
    page = leave_page(run, rules_of, progress.output)
    console.print(Text(f"Report: {page}"), soft_wrap=True)
    return record


def _required(packages: tuple[str, ...], files: tuple[str, ...]) -> tuple[str, ...]:
    here = Path.cwd()
    named = [one for name in packages for one in expand(name, here)]
    required = (*named, *(one for name in files for one in expand(f"-r {name}", here)))
    for one in required:
        try:
            Requirement(one)
        except InvalidRequirement as error:
            raise UsageError(f"'{one}' is not a requirement, such as flask==3.1") from error
    return required
