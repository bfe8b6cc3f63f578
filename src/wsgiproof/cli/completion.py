"""What a shell completes: values that are at hand in a moment, so that no key press has to wait.

An error completes nothing, since a shell has no place for a message.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from wsgiproof.errors import WsgiproofError
from wsgiproof.subjects.axis import Axis

_FILE, _DIRECTORY = "file", "dir"
_RESULTS = "wsgiproof-results"
_Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def _completer(
    values: Callable[[click.Context, str], Iterable[str]], *, files: bool = False
) -> _Complete:
    """Complete those of ``values`` that begin as the word does, and names of files as well."""

    @wraps(values)
    def complete(
        context: click.Context, parameter: click.Parameter, word: str
    ) -> list[CompletionItem[str]]:
        found: list[CompletionItem[str]] = []
        if not (files and _is_path(word)):
            try:
                every = list(dict.fromkeys(values(context, word)))
            except (OSError, WsgiproofError):
                every = []
            found = [CompletionItem(one) for one in every if one.startswith(word) and _plain(one)]
        if files and not found:
            found.append(CompletionItem(word, type=_FILE))
        return found

    return complete


def _plain(value: str) -> bool:
    """Whether a shell can take it in one line; names of files may hold anything."""
    return value.isprintable() and not any(char.isspace() for char in value)


def _is_path(word: str) -> bool:
    return "/" in word or word.startswith((".", "~"))


def file(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Complete names of files."""
    return [CompletionItem(word, type=_FILE)]


def directory(
    context: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """Complete names of directories."""
    return [CompletionItem(word, type=_DIRECTORY)]


def _pythons(context: click.Context, word: str) -> Iterable[str]:
    from wsgiproof.provision.python import installed

    for python in installed():
        yield python.short
        yield python.version + "t" * python.free_threaded


def _cells(context: click.Context, word: str) -> Iterable[str]:
    """The cells of the run that the command line names, or else of the latest one here.

    To expand the matrix would take an answer of the package index.
    """
    above = context.parent.command if context.parent else None
    if context.info_name == "cells" and isinstance(above, click.Group):
        yield from above.commands  # 'wsgiproof build' stands for 'wsgiproof build cells'
    named = [context.params.get(name) for name in ("where", "resume", "output")]
    runs = [Path(one) for one in named if isinstance(one, str | Path)]
    results = Path(_RESULTS)
    if not runs and results.is_dir():
        runs = sorted(results.iterdir(), reverse=True)
    for run in runs:
        if (run / "cells").is_dir():
            yield from sorted(os.listdir(run / "cells"))  # noqa: PTH208 - names, and no paths
            return


def _sets(context: click.Context, word: str) -> Iterable[str]:
    yield from _file_values(context).get("sets", {})


def axis(its: Axis) -> _Complete:
    """Complete the values of an axis."""

    def values(context: click.Context, word: str) -> Iterable[str]:
        yield from its.words
        if its.name == "python":
            yield from _pythons(context, word)
        if its.names:
            yield from _file_values(context).get("names", {}).get(its.names, {})

    return _completer(values, files=True)


def _file_values(context: click.Context) -> Mapping[str, Any]:
    from wsgiproof.config.file import find, load

    here = Path.cwd()
    named = context.params.get("file")
    path = named or find(here)
    return load(path, found_from=None if named else here).values if path else {}


def _phases(context: click.Context, word: str) -> Iterable[str]:
    from wsgiproof.records.plan import ExtraPhase

    begun, comma, _ = word.rpartition(",")
    given = begun.split(",")
    if not comma:
        yield from ("all", "none")
    yield from (f"{begun}{comma}{one}" for one in ExtraPhase if one not in given)


def _ids(context: click.Context, word: str) -> Iterable[str]:
    from wsgiproof.cli.known import ids

    return ids()


cells = _completer(_cells)
pythons = _completer(_pythons, files=True)
sets = _completer(_sets)
phases = _completer(_phases)
ids = _completer(_ids)
