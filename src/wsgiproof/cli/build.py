"""``wsgiproof build``: what a matrix needs, or a Python, built ahead of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from wsgiproof.cli import completion
from wsgiproof.cli.help import Group, command, option
from wsgiproof.cli.options import configure, make_console, matrix_options, read_list
from wsgiproof.errors import ExitCode, UsageError

_EXAMPLES = (
    "wsgiproof build",
    "wsgiproof build --python 3.12 --python 3.13 --mod-wsgi 5.0.2 --mod-wsgi 6.1.1",
    "wsgiproof build --set nightly '*embedded*'",
)
_PYTHON_EXAMPLES = (
    "wsgiproof build python 3.13.15",
    "wsgiproof build python 3.13.15t --source Python-3.13.15.tar.xz",
    "wsgiproof build python 3.11.9 --sha256 HEX",
    "wsgiproof build python 3.13.15 --mirror https://mirror.example/python",
    "wsgiproof build python 3.12.12 --prebuilt",
)
_CODES = {
    0: "everything is built, or was already",
    2: "the command line is wrong, or names something that does not exist",
    3: "something could not be built; the message names the log",
}
_PYTHON_CODES = {
    **_CODES,
    2: "the command line is wrong, or the sources are not what was asked for",
}
_DEFAULT = "cells"


class _Group(Group):
    """A group whose arguments are those of one of its commands, unless they name another."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if (not args or args[0] not in self.commands) and args[:1] not in (["-h"], ["--help"]):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group("build", cls=_Group, examples=(*_EXAMPLES, _PYTHON_EXAMPLES[0]), codes=_CODES)
def build_command() -> None:
    """Build what a run needs, ahead of the run.

    Without a command, it builds for cells: it takes the same CELLs and options as 'wsgiproof run',
    and 'wsgiproof build cells --help' lists them.
    """


@command(_DEFAULT, examples=_EXAMPLES, codes=_CODES)
@matrix_options()
def build_cells(
    file: Path | None, no_config: bool, chosen: str, listed: Path | None, **options: Any
) -> None:
    """Build mod_wsgi, the subject and Apache for every CELL.

    Builds run at the same time. Apache is built where the machine has none. Nothing is started,
    and what is built already is not built again.
    """
    from wsgiproof.report.builds import BuildProgress, show_builds
    from wsgiproof.run.planning import plan, preflight
    from wsgiproof.run.prebuild import prebuild

    config, _ = configure(options, file=file, no_config=no_config, chosen=chosen)
    console = make_console()
    started = time.monotonic()
    setup = preflight(config, read_list(listed))
    with BuildProgress(console) as progress:
        built = list(prebuild(plan(config, setup), setup, progress))
    show_builds(console, built, time.monotonic() - started)
    if any(one.problem for one in built):
        raise SystemExit(ExitCode.UNDECIDED)


@command("python", examples=_PYTHON_EXAMPLES, codes=_PYTHON_CODES)
@click.argument("version")
@option(
    "--source",
    metavar="PATH|URL",
    default="",
    shell_complete=completion.file,
    help="The sources to compile.\n"
    "An archive (.tgz, .tar.gz, .tar.xz, .tar.bz2), or a directory. Default: the official release.",
)
@option(
    "--sha256",
    metavar="HEX",
    default="",
    help="The checksum of the archive.\nA download needs it where none is published beside it.",
)
@option(
    "--mirror",
    metavar="URL",
    default="",
    help="In place of https://www.python.org/ftp/python.\nWith --prebuilt, in place of uv's.",
)
@option("--prebuilt", is_flag=True, help="Let 'uv python install' get its own build.")
@option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compilers at the same time.\n[default: the number of cores]",
)
def build_python(
    version: str, source: str, sha256: str, mirror: str, prebuilt: bool, jobs: int | None
) -> None:
    """Compile a Python that mod_wsgi can embed.

    It has a shared library and headers. VERSION is a full one, such as 3.13.15, or 3.13.15t for one
    without a GIL. It takes a few minutes, once. Afterwards --python finds it by this version.
    """
    from wsgiproof.provision.cache import Cache
    from wsgiproof.provision.cpython import build_cpython, install_prebuilt, missing_modules
    from wsgiproof.report.builds import StepProgress
    from wsgiproof.report.pythons import show_python

    console = make_console()
    if prebuilt and (source or sha256 or jobs):
        raise UsageError("--prebuilt takes uv's own build: leave --source, --sha256 and --jobs out")
    if source and mirror:
        raise UsageError("--source and --mirror exclude each other: give one of them")
    with StepProgress(console) as steps:
        if prebuilt:
            python = install_prebuilt(version, Cache(), steps, mirror=mirror)
        else:
            python = build_cpython(
                version,
                Cache(),
                steps,
                source=source,
                sha256=sha256,
                mirror=mirror,
                jobs=jobs or 0,
            )
    show_python(console, python, version, missing_modules(python))


for _command in (build_cells, build_python):
    build_command.add_command(_command)
