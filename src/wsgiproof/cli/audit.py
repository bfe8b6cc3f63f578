"""``wsgiproof audit``: what installed packages do in interpreters that are not the only ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup
import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from wsgiproof.cli import completion
from wsgiproof.cli.choices import Choices
from wsgiproof.cli.command_line import command_line
from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import PATH, make_console, note, print_json, progress_on
from wsgiproof.config.axes import MOD_WSGI
from wsgiproof.config.model import MOST_SUB_INTERPRETERS
from wsgiproof.config.requirements import requirements as expand
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.judge.finding import in_words
from wsgiproof.records.cell import InterpreterKind

if TYPE_CHECKING:
    from rich.console import Console

    from wsgiproof.audit.elsewhere import Elsewhere
    from wsgiproof.config.project import Project
    from wsgiproof.provision.toolchain import Python
    from wsgiproof.records.audit import Audit
    from wsgiproof.run.deep import Deep

_EXAMPLES = (
    "wsgiproof audit cryptography bcrypt==4.2.1",
    "wsgiproof audit -r requirements.txt --python 3.11 --python 3.13",
    "wsgiproof audit --project . --extra postgres",
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
_LEAK_LIMIT = 16
"""MiB: CPython itself and well-known packages leave up to 4."""
_RELEASES = 10
_DEFAULT_KIND = InterpreterKind.SHARED_GIL


@command("audit", examples=_EXAMPLES, codes=_CODES)
@click.argument("packages", metavar="[PACKAGE[==VERSION]]...", nargs=-1)
@cloup.option_group(
    "What to audit",
    option(
        "-r",
        "--requirement",
        "files",
        multiple=True,
        metavar="FILE",
        shell_complete=completion.file,
        help="A requirements file, as for pip.\nMay be given several times.",
    ),
    option(
        "--project",
        type=PATH,
        metavar="DIR",
        shell_complete=completion.directory,
        help="A project, in place of packages: what it needs.\n"
        "The dependencies of its pyproject.toml, in the versions of its uv.lock if there is one. "
        "The project itself is neither built nor imported.",
    ),
    option(
        "--extra",
        "extras",
        multiple=True,
        metavar="NAME",
        help="An extra of the project.\nMay be given several times.",
        rare=True,
    ),
    option(
        "--env",
        type=PATH,
        metavar="VENV",
        shell_complete=completion.directory,
        help="An existing environment, in place of packages.\n"
        "It is read, and nothing is installed.",
    ),
    option(
        "--python",
        "pythons",
        multiple=True,
        metavar="VERSION|PATH",
        shell_complete=completion.pythons,
        help="A Python to install for.\n"
        "As for 'wsgiproof run'; 'wsgiproof doctor --pythons' lists them. May be given several "
        "times.",
    ),
    option(
        "--interpreter",
        "kinds",
        multiple=True,
        type=Choices(list(InterpreterKind)),
        metavar="KIND",
        help="main, shared-gil, own-gil or free-threaded.\n"
        "The main interpreter is always tried as well, as the control. May be given several "
        "times.  "
        f"[default: {_DEFAULT_KIND}, which is mod_wsgi's]",
    ),
    option(
        "--all",
        "everything",
        is_flag=True,
        help="Try packages without compiled code, too.",
    ),
)
@cloup.option_group(
    "How",
    option(
        "--trials",
        type=click.IntRange(min=1, max=1000),
        metavar="N",
        default=5,
        help="Processes for each package and kind.\n"
        "A crash at the end need not happen each time.  [default: 5]",
    ),
    option(
        "--timeout",
        type=click.FloatRange(min=1, max=3600),
        metavar="SECONDS",
        default=60.0,
        help="How long one process may take.\n[default: 60]",
        rare=True,
    ),
    option(
        "--leak-limit",
        type=click.IntRange(min=1, max=1 << 20),
        metavar="MIB",
        help=f"Memory that an interpreter may leave when it ends.\n[default: {_LEAK_LIMIT} MiB]",
        default=_LEAK_LIMIT,
        rare=True,
    ),
    option(
        "--jobs",
        type=click.IntRange(min=1, max=256),
        metavar="N",
        help="Packages at the same time.\n[default: the number of cores]",
    ),
)
@cloup.option_group(
    "More machines",
    option(
        "--dask",
        metavar="ADDRESS",
        default="",
        help="Try the packages in the workers of a Dask cluster.\n"
        "The address of its scheduler, such as tcp://10.0.0.1:8786; or 'local', for --jobs workers "
        "on this machine.",
        rare=True,
    ),
)
@cloup.option_group(
    "Releases that work",
    option(
        "--find-working",
        is_flag=True,
        help="Look for releases that work, of what fails.\n"
        "Newer and older ones from the index are installed and tried, the nearest ones first.",
    ),
    option(
        "--releases",
        type=click.IntRange(min=1, max=100),
        metavar="N",
        help="Other releases to try of each package.\nFor --find-working, at most.  [default: 10]",
        rare=True,
    ),
)
@cloup.option_group(
    "In real Apache",
    option(
        "--deep",
        is_flag=True,
        help="Try each package in real Apache, too.\n"
        "An application uses it in each request, and all checks of 'wsgiproof run' judge that: "
        "about a minute for each package and kind.",
    ),
    option(
        "--mod-wsgi",
        metavar="VERSION|PATH",
        default="",
        shell_complete=completion.axis(MOD_WSGI),
        help="mod_wsgi for --deep.\nAs for 'wsgiproof run'.  [default: latest]",
    ),
    option(
        "--sub-interpreters",
        type=click.IntRange(min=1, max=MOST_SUB_INTERPRETERS),
        metavar="N",
        help="Sub interpreters for --deep, in each process.\n[default: 2]",
        rare=True,
    ),
    option(
        "-n",
        "--requests",
        type=click.IntRange(min=1),
        metavar="N",
        help="Requests of each cell of --deep.\n[default: as 'wsgiproof run']",
        rare=True,
    ),
)
@cloup.option_group(
    "Output",
    option(
        "-o",
        "--output",
        type=PATH,
        metavar="DIR",
        shell_complete=completion.directory,
        help="Where audit.json and audit.html go.\nDefault: wsgiproof-results/TIME.",
    ),
    option(
        "--resume",
        type=PATH,
        metavar="DIR",
        shell_complete=completion.directory,
        help="Finish the interrupted audit in DIR.\n"
        "With the same options. Packages that were finished there are not tried again.",
    ),
    option(
        "--junit",
        type=PATH,
        metavar="FILE",
        help="Write JUnit XML.\nIt has a test case for each package, Python and kind.",
    ),
    option(
        "--markdown",
        type=PATH,
        metavar="FILE",
        help="Write Markdown, for a pull request or a job summary.",
    ),
    option("--json", "as_json", is_flag=True, help="Print audit.json; progress goes to stderr."),
)
def audit_command(
    packages: tuple[str, ...],
    files: tuple[str, ...],
    project: Path | None,
    extras: tuple[str, ...],
    env: Path | None,
    pythons: tuple[str, ...],
    kinds: tuple[str, ...],
    everything: bool,
    trials: int,
    timeout: float,
    leak_limit: int,
    jobs: int | None,
    dask: str,
    find_working: bool,
    releases: int | None,
    deep: bool,
    mod_wsgi: str,
    sub_interpreters: int | None,
    requests: int | None,
    output: Path | None,
    resume: Path | None,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> None:
    """Try packages in several interpreters of a process.

    Each PACKAGE with compiled code, and each that it needs, is imported in the main interpreter of
    a process, and then in two sub interpreters of others, which end. What differs is reported. The
    packages run as an unprivileged user if wsgiproof is root, without a network where the kernel
    allows that. None of this needs Apache; --deep tries each in real Apache, too.
    """
    from rich.text import Text

    from wsgiproof.audit.record import Request
    from wsgiproof.audit.session import audit, check
    from wsgiproof.judge.audited import exit_code
    from wsgiproof.records.audit import AUDIT
    from wsgiproof.records.reading import load_audit
    from wsgiproof.records.writing import held, make_private_directory
    from wsgiproof.report.audited import show_audit
    from wsgiproof.report.builds import StepProgress
    from wsgiproof.report.files import write_audit_reports
    from wsgiproof.report.html.audited import leave_audit_page
    from wsgiproof.run.deep import Deep, DeepRequest, pythons_of

    _check_options({"--releases": releases}, "--find-working", find_working)
    _check_options(
        {"--mod-wsgi": mod_wsgi, "--sub-interpreters": sub_interpreters, "--requests": requests},
        "--deep",
        deep,
    )
    _check_place(output, resume, env, dask, deep=deep)
    needed = _needed(packages, files, project, extras, env)
    request = Request(
        requirements=needed.requirements,
        notes=needed.notes,
        env=env,
        pythons=_pythons(needed, pythons, env),
        kinds=tuple(dict.fromkeys(map(InterpreterKind, kinds or (_DEFAULT_KIND,)))),
        everything=everything,
        jobs=jobs or os.cpu_count() or 1,
        timeout=timeout,
        trials=trials,
        leak_limit=leak_limit << 20,
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
    before = load_audit(resume) if resume is not None else None
    with _elsewhere(dask, request.jobs) as elsewhere:
        directory = make_private_directory(output, AUDIT) if resume is None else resume.absolute()
        console = make_console(stderr=as_json)
        kept = KeptAudit(directory / AUDIT)
        with shown_if_interrupted(console, kept), held(directory):
            with StepProgress(console) as progress:
                record = audit(request, progress, kept.save, before=before, elsewhere=elsewhere)
            if deep:
                kept.save(msgspec.structs.replace(record, complete=False))
                tier = tier or Deep(in_apache, pythons_of(record))
                record = _tried_in_apache(tier, record, directory, console)
                kept.save(record)
    show_audit(console, record, str(kept.path))
    write_audit_reports(record, junit, markdown, note)
    console.print(Text(f"Report: {leave_audit_page(record, directory)}"), soft_wrap=True)
    if as_json:
        print_json(record)
    raise SystemExit(exit_code(record.environments))


def _check_options(given: Mapping[str, object], needed: str, there: bool) -> None:
    """Raise :class:`UsageError` if an option is given that says nothing without another one."""
    names = [name for name, value in given.items() if value]
    if names and not there:
        raise UsageError(f"{in_words(names)} {'is' if len(names) == 1 else 'are'} for {needed}")


def _check_place(
    output: Path | None, resume: Path | None, env: Path | None, dask: str, *, deep: bool
) -> None:
    """Raise :class:`UsageError` for options that say together neither where to try nor where to
    record."""
    if resume is not None and (output is not None or deep):
        raise UsageError(
            "what runs in Apache can't be resumed: use --resume or --deep"
            if deep
            else "--resume goes on in DIR: leave --output out"
        )
    if dask and (deep or env is not None):
        raise UsageError(
            f"{'--deep' if deep else '--env'} is for this machine alone: leave --dask out"
        )


class KeptAudit:
    """The record in its file, and at hand if it gets no further."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: Audit | None = None
        self._written: Audit | None = None

    def save(self, record: Audit) -> None:
        """Write the record."""
        self.record = record
        self.write()

    def write(self) -> None:
        """Write the latest record, unless that has been done."""
        from wsgiproof.files import write_output
        from wsgiproof.records.run import as_json

        if self.record is not None and self.record is not self._written:
            write_output(as_json(self.record), self.path)
            self._written = self.record


@contextmanager
def shown_if_interrupted(console: Console, kept: KeptAudit) -> Iterator[None]:
    """Show what was finished before an exception; why it went no further is said by main()."""
    from wsgiproof.report.audited import show_audit

    try:
        yield
    except (KeyboardInterrupt, Exception):
        if kept.record is not None:
            with suppress(CannotRun):  # a full disk may be what has ended the audit
                kept.write()
            show_audit(console, kept.record, str(kept.path))
        raise


@contextmanager
def _elsewhere(address: str, workers: int) -> Iterator[Elsewhere | None]:
    """Connect to the Dask cluster at ``address``, or to ``workers`` on this machine."""
    if not address:
        yield None
        return
    from wsgiproof.run.executors.dask_audit import OnDask
    from wsgiproof.run.executors.dask_cluster import connected

    with connected(address, workers) as client:
        yield OnDask(client, note)


def _needed(
    packages: tuple[str, ...],
    files: tuple[str, ...],
    project: Path | None,
    extras: tuple[str, ...],
    env: Path | None,
) -> Project:
    """Return what is to be installed: nothing for an existing environment."""
    from wsgiproof.config.project import Project, read_project

    required = _required(packages, files)
    if (bool(required), env is not None, project is not None).count(True) != 1:
        raise UsageError(
            "name packages, a file with -r, a project with --project, or an environment with "
            "--env: one of them"
        )
    if extras and project is None:
        raise UsageError("--extra needs --project; for a package, name 'package[extra]'")
    return read_project(project, extras) if project else Project(requirements=required)


def _pythons(needed: Project, pythons: tuple[str, ...], env: Path | None) -> tuple[Python, ...]:
    from wsgiproof.config.project import check_python
    from wsgiproof.process.account import server_account
    from wsgiproof.provision.python import choose_all

    if env is not None:
        if pythons:
            raise UsageError("--env has its own Python: leave --python out")
        return ()
    chosen = choose_all(pythons or ("",), server_account())
    for python in chosen:
        check_python(needed, python.title, python.version)
    return chosen


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
