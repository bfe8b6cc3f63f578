"""The C compiler that everything here is built with, and which libraries it knows."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

from wsgiproof.errors import NeedMissing


def find_compiler() -> str:
    """Its path: of ``CC``, of ``cc`` or of ``gcc``. Raises :class:`NeedMissing` without one."""
    compiler = shutil.which(os.environ.get("CC", "cc").split()[0]) or shutil.which("gcc")
    if compiler is None:
        raise NeedMissing(
            "there is no C compiler to build mod_wsgi with: install one, "
            "on Debian 'apt-get install gcc libc6-dev make'"
        )
    return compiler


def describe_compiler(compiler: str) -> str:
    """The first line of what it says of its version."""
    answer = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    return answer.stdout.partition("\n")[0]


def has_header(compiler: str, header: str) -> bool:
    """Whether a program may include ``<header>``; CPPFLAGS may say where it is."""
    flags = shlex.split(os.environ.get("CPPFLAGS", ""))
    answer = subprocess.run(
        [compiler, *flags, "-E", "-"],
        input=f"#include <{header}>\n".encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    return answer.returncode == 0
