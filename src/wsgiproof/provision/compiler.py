"""The C compiler: finding it, what of it a build depends on, and which headers it finds."""

from __future__ import annotations

import os
import shlex
import shutil
from functools import cache as remembered

from wsgiproof.errors import PrerequisiteMissing
from wsgiproof.process.commands import run
from wsgiproof.process.environ import COMPILE, child_environment
from wsgiproof.process.leftovers import temporary_directory

_FLAGS = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG_PATH")


def find_compiler() -> str:
    """Return the path of the compiler. Raises :class:`PrerequisiteMissing` if there is none."""
    compiler = shutil.which(os.environ.get("CC", "cc").split()[0]) or shutil.which("gcc")
    if compiler is None:
        raise PrerequisiteMissing(
            "there is no C compiler to build mod_wsgi with: install one, "
            "on Debian 'apt-get install gcc libc6-dev make'"
        )
    return compiler


def compiler_key() -> dict[str, str]:
    """Return what a cached build depends on: the compiler's version and flags."""
    flags = {name: os.environ[name] for name in _FLAGS if os.environ.get(name)}
    return {"compiler": _version(os.environ.get("CC", "")), **flags}


@remembered
def _version(_: str) -> str:
    """Return the version that the compiler prints; empty if there is no compiler."""
    try:
        output = run(
            [find_compiler(), "--version"], deadline=30, env=child_environment(COMPILE)
        ).output
    except PrerequisiteMissing:
        return ""
    return output.partition("\n")[0].strip()


def has_header(header: str) -> bool:
    """Whether the compiler finds ``<header>``, also by CPPFLAGS."""
    flags = shlex.split(os.environ.get("CPPFLAGS", ""))
    with temporary_directory() as scratch:
        program = scratch / "includes.c"
        program.write_text(f"#include <{header}>\n")
        done = run(
            [find_compiler(), *flags, "-E", str(program)],
            deadline=30,
            env=child_environment(COMPILE),
        )
    return done.returncode == 0
