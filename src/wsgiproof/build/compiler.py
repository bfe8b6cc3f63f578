"""The C compiler, what of it decides what comes of a build, and which libraries it knows."""

from __future__ import annotations

import os
import shlex
import shutil
from functools import cache as remembered

from wsgiproof.environ import COMPILE, child_environment
from wsgiproof.errors import NeedMissing
from wsgiproof.leftovers import temporary_directory
from wsgiproof.process import run

_FLAGS = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG_PATH")


def find_compiler() -> str:
    """The path of the compiler. Raises :class:`NeedMissing` if there is none."""
    compiler = shutil.which(os.environ.get("CC", "cc").split()[0]) or shutil.which("gcc")
    if compiler is None:
        raise NeedMissing(
            "there is no C compiler to build mod_wsgi with: install one, "
            "on Debian 'apt-get install gcc libc6-dev make'"
        )
    return compiler


def compiler_key() -> dict[str, str]:
    """What a cached build depends on: the compiler's version, and the flags that it is given."""
    flags = {name: os.environ[name] for name in _FLAGS if os.environ.get(name)}
    return {"compiler": _version(os.environ.get("CC", "")), **flags}


@remembered
def _version(_: str) -> str:
    """In its own words; empty if there is none, and nothing can be built."""
    try:
        told = run(
            [find_compiler(), "--version"], deadline=30, env=child_environment(COMPILE)
        ).output
    except NeedMissing:
        return ""
    return told.partition("\n")[0].strip()


def has_header(header: str) -> bool:
    """Whether a program may include ``<header>``; CPPFLAGS may say where it is."""
    flags = shlex.split(os.environ.get("CPPFLAGS", ""))
    with temporary_directory() as scratch:
        program = scratch / "includes.c"
        program.write_text(f"#include <{header}>\n")
        answer = run(
            [find_compiler(), *flags, "-E", str(program)],
            deadline=30,
            env=child_environment(COMPILE),
        )
    return answer.returncode == 0
