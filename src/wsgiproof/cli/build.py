"""``wsgiproof build``: what a matrix needs, or a Python, built ahead of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from wsgiproof.cli.options import configure, exit_codes, make_console, matrix_options
from wsgiproof.errors import ExitCode, UsageError

_EXAMPLES = """\b
Examples:
  wsgiproof build
  wsgiproof build --python 3.12 --python 3.13 --mod-wsgi 5.0.2 --mod-wsgi 6.1.1
  wsgiproof build --set nightly '*embedded*'
"""
_PYTHON_EXAMPLES = """\b
Examples:
  wsgiproof build python 3.13.15
  wsgiproof build python 3.13.15t --source Python-3.13.15.tar.xz
  wsgiproof build python 3.11.9 --sha256 HEX
  wsgiproof build python 3.13.15 --mirror https://mirror.example/python
  wsgiproof build python 3.12.12 --prebuilt
"""
_CODES = exit_codes(
    {
        0: "it is built, or was already",
        2: "the command line is wrong, or the sources are not what was asked for",
        3: "it could not be built; the log's place is told",
        130: "interrupted; nothing is left",
    }
)
_DEFAULT = "cells"


class _Group(click.Group):
    """A group whose arguments are those of one of its commands, unless they name another."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if (not args or args[0] not in self.commands) and "--help" not in args[:1]:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group("build", cls=_Group, epilog=f"{_EXAMPLES}\n{_CODES}")
def build_command() -> None:
    """Build ahead what a run would build on demand: for every cell, unless told otherwise.

    Takes the same CELLs and options as 'wsgiproof run'; 'wsgiproof build cells --help' lists them.
    """


@build_command.command(_DEFAULT, epilog=f"{_EXAMPLES}\n{_CODES}")
@matrix_options
def build_cells(file: Path | None, no_config: bool, chosen: str, **options: Any) -> None:
    """Build mod_wsgi and PyMongo for every CELL, at the same time, and Apache where there is none.

    Nothing is started. What is there already is not built again.
    """
    from wsgiproof.planning import plan, preflight
    from wsgiproof.prebuild import prebuild
    from wsgiproof.report.builds import BuildProgress, show_builds

    config, _ = configure(options, file=file, no_config=no_config, chosen=chosen)
    console = make_console()
    started = time.monotonic()
    setup = preflight(config)
    with BuildProgress(console) as progress:
        built = list(prebuild(plan(config, setup), setup, progress))
    show_builds(console, built, time.monotonic() - started)
    if any(one.problem for one in built):
        raise SystemExit(ExitCode.UNDECIDED)


@build_command.command("python", epilog=f"{_PYTHON_EXAMPLES}\n{_CODES}")
@click.argument("version")
@click.option(
    "--source",
    metavar="PATH|URL",
    default="",
    help="A source archive (.tgz, .tar.gz, .tar.xz, .tar.bz2), or a directory. Default: the "
    "official release.",
)
@click.option(
    "--sha256",
    metavar="HEX",
    default="",
    help="Of the archive. A download needs it where none is published beside it.",
)
@click.option(
    "--mirror",
    metavar="URL",
    default="",
    help="In place of https://www.python.org/ftp/python; with --prebuilt, in place of uv's.",
)
@click.option("--prebuilt", is_flag=True, help="Have 'uv python install' get its own build.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Compilers at the same time.  [default: the number of cores]",
)
def build_python(
    version: str, source: str, sha256: str, mirror: str, prebuilt: bool, jobs: int | None
) -> None:
    """Compile a Python that mod_wsgi can embed: with a shared library, and with headers.

    VERSION is a full one, such as 3.13.15, or 3.13.15t for one without a GIL. It takes a few
    minutes, once; afterwards '--python 3.13.15' and '--python 3.13' find it.
    """
    from wsgiproof.build.cpython import build_cpython, install_prebuilt, missing_modules
    from wsgiproof.cache import Cache
    from wsgiproof.report.builds import StepProgress
    from wsgiproof.report.pythons import show_python

    console = make_console()
    if prebuilt and (source or sha256 or jobs):
        raise UsageError("--prebuilt is uv's own build: it has no --source, --sha256 and --jobs")
    if source and mirror:
        raise UsageError("--source is taken instead of what a --mirror has: give one of them")
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
