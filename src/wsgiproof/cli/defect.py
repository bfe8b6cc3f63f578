"""Reporting an unforeseen exception: it is a defect of wsgiproof, and no finding."""

from __future__ import annotations

import os
import platform
import secrets
import tempfile
import traceback
from pathlib import Path

import wsgiproof
from wsgiproof.cli.command_line import command_line, without_uris
from wsgiproof.errors import ExitCode
from wsgiproof.files import Directory

_LONGEST = 300
"""Characters of the exception's own message."""


def defect(error: BaseException, output: Path | None) -> tuple[str, ExitCode]:
    """Write the traceback to a file that only our user can read (0600). It goes to the ``output``
    directory of the run if there is one, else to a new temporary file.

    Return a message that names the file and says what to do, and the exit code.
    """
    says = f"a defect of wsgiproof: {type(error).__name__}: {without_uris(str(error))[:_LONGEST]}"
    try:
        where = _leave(_report(error), output)
    except OSError as other:
        line = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(line.filename).name}:{line.lineno} ({line.name})"
        said = f"its traceback could not be written: {other.strerror}"
        return f"{says}; at {place}, {said}; please report this line", ExitCode.DEFECT
    return f"{says}; please report it, with {where}", ExitCode.DEFECT


def _report(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).split("\n")
    system = os.uname()  # platform.platform() would start a program
    return "\n".join(
        [
            f"wsgiproof {wsgiproof.__version__}, Python {platform.python_version()}, "
            f"{system.sysname}-{system.release}-{system.machine}",
            command_line(),
            *map(without_uris, lines),
        ]
    )


def _leave(text: str, output: Path | None) -> Path:
    content = text.encode("utf-8", "backslashreplace")
    if output is not None:
        name = f"defect-{secrets.token_hex(4)}.txt"
        try:
            with Directory(output) as directory:
                directory.write(name, content)
            return output / name
        except OSError:
            pass  # that disk may be full
    descriptor, path = tempfile.mkstemp(prefix="wsgiproof-defect-", suffix=".txt")
    with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(content)
        os.fchmod(descriptor, 0o600)
    return Path(path)
