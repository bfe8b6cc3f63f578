"""The two streams for all output while a command runs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from wsgiproof.errors import ExitCode
from wsgiproof.report.text import for_logs


@contextmanager
def guarded() -> Iterator[None]:
    """Guard stdout and stderr until the context ends, and flush them at its end.

    A stream that is closed from the start is replaced by ``/dev/null``.
    """
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:
        ours = [_Guarded(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = cast(TextIO, ours[0]), cast(TextIO, ours[1])
        try:
            yield
            for stream in ours:
                stream.flush()
        finally:
            sys.stdout, sys.stderr = before


def say(text: str, *, err: bool = False) -> None:
    """Print a line, or several. click would bypass the guard where the locale is ASCII."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()


def say_unfinished(output: Path, *, err: bool = False) -> None:
    """Say where the results of a command are that was interrupted, and how to go on."""
    say(f"Results so far: {output} (the same command with --resume finishes it)", err=err)


class _Guarded:
    """A stream without commands for CI systems, whose reader may end at any time.

    The end of the reader ends the command as Ctrl-C does, with an exit code of its own. It raises
    SystemExit, which nothing mistakes for a failure of the current work, such as a cell.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._at_start = True
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of characters that it has no bytes for

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write whole lines, as rich and click do."""
        try:
            self._stream.write(for_logs(text, at_start=self._at_start))
        except BrokenPipeError:
            self._closed()
        rest = text[max(text.rfind("\n"), text.rfind("\r")) + 1 :]
        self._at_start = not rest.strip() and (self._at_start or len(rest) < len(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._closed()

    def _closed(self) -> NoReturn:
        with suppress(OSError, ValueError):  # what is left in the buffer must not fail again
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        raise SystemExit(ExitCode.CLOSED)
