"""An axis of the matrix: its option, its key in a file, and its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wsgiproof.files import place
from wsgiproof.records.cell import GIT, AxisValue, is_module, version_label

_PATH_SUFFIXES = (".whl", ".gz", ".zip")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of the matrix: its option, its key in a file, and its values."""

    name: str
    """The key in a file, such as ``mod_wsgi``; the option is ``--mod-wsgi``."""
    metavar: str
    help: str
    """The help of the option; its first line is the summary."""
    about: str
    """The description of the key, for editors."""
    title: str = ""
    """Its name in a report, if a value needs one: ``mod_wsgi 5.0.2``, but ``daemon``."""
    default: tuple[str, ...] = ("",)
    """The values if none is asked for; an empty one depends on the machine."""
    choices: tuple[str, ...] = ()
    """The only values that there are; empty: any text."""
    words: tuple[str, ...] = ()
    """Values that a shell completes, beside the names of files."""
    package: str = ""
    """The package on the index of which the values are versions."""
    names: str = ""
    """The key of a table in the file that gives names to values; empty: there is none."""
    about_names: str = ""
    example: str = ""
    """A value for the file that ``wsgiproof init`` writes; empty for the default."""
    example_names: str = ""
    anywhere: bool = False
    """Whether each value is there on any machine, although there are more than a few choices."""
    built_in: bool = False
    """Whether it says what the built-in application does, so that a user's own has none of it."""
    rare: bool = False
    """Whether the short help leaves the option out."""
    absolute: Callable[[str, Path], str] = lambda value, directory: value
    """Makes a value that is a relative path absolute."""
    shown: Callable[[str], str] = str
    """Returns a value as it may be shown and recorded, without a password."""
    exposed: Callable[[str], bool] = lambda value: False
    """Whether a value on the command line gives a password away."""

    @property
    def option(self) -> str:
        """The option of the command line."""
        return f"--{self.name.replace('_', '-')}"


def absolute(value: str, directory: Path) -> str:
    """Return a path made absolute. A value that is not a path is returned unchanged."""
    if value.startswith(GIT):
        return value
    is_path = "/" in value or value in (".", "..") or value.endswith(_PATH_SUFFIXES)
    return place(value, directory) if is_path or is_module(value) else value


def version_value(axis: str, version: str, path: str = "", commit: str = "") -> AxisValue:
    """Return the value of an axis of versions, as a cell has it."""
    return AxisValue(
        axis=axis,
        value=version,
        path=path,
        commit=commit,
        label=version_label(axis, version, path, commit),
    )
