"""``wsgiproof build``: what a run would build, built beforehand."""

from __future__ import annotations

import click

from wsgiproof.cli.options import make_console
from wsgiproof.errors import UsageError

_PYTHON_EXAMPLES = """\b
Examples:
  wsgiproof build python 3.13.15
  wsgiproof build python 3.13.15t --source Python-3.13.15.tar.xz
  wsgiproof build python 3.11.9 --sha256 HEX
  wsgiproof build python 3.13.15 --mirror https://mirror.example/python
  wsgiproof build python 3.12.12 --prebuilt
"""
_CODES = """\b
Exit codes:
  0    it is built, or was already
  2    the command line is wrong, or the sources are not what was asked for
  3    it could not be built; the log's place is told
  130  interrupted; nothing is left
"""


@click.group("build")
def build_group() -> None:
    """Build beforehand what runs need. All of it is kept in the build cache."""


@build_group.command("python", epilog=f"{_PYTHON_EXAMPLES}\n{_CODES}")
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
def build_python_command(
    version: str, source: str, sha256: str, mirror: str, prebuilt: bool, jobs: int | None
) -> None:
    """Compile a Python that mod_wsgi can embed: with a shared library, and with headers.

    VERSION is a full one, such as 3.13.15, or 3.13.15t for one without a GIL. It takes a few
    minutes, once; afterwards '--python 3.13.15' and '--python 3.13' find it.
    """
    from wsgiproof.build.cpython import build_cpython, install_prebuilt, missing_modules
    from wsgiproof.cache import Cache
    from wsgiproof.report.build import BuildProgress, show_python

    console = make_console()
    if prebuilt and (source or sha256 or jobs):
        raise UsageError("--prebuilt is uv's own build: it has no --source, --sha256 and --jobs")
    if source and mirror:
        raise UsageError("--source is taken instead of what a --mirror has: give one of them")
    with BuildProgress(console) as steps:
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
