"""``wsgiproof.toml``, or ``[tool.wsgiproof]`` of a ``pyproject.toml``: found, read, and described.

A file has the keys of :class:`wsgiproof.config.model.Config`, and named sets of changes to them.
The command line wins over the set, and the set over the rest of the file.
"""

from __future__ import annotations

import os
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import msgspec

from wsgiproof.config.axes import ALL_AXES
from wsgiproof.config.axes import NAMES as TABLES_OF_NAMES
from wsgiproof.config.known import KnownTable
from wsgiproof.config.model import Combination, Config, Exclusion, Override, without_replaced
from wsgiproof.config.requirements import requirements
from wsgiproof.errors import UsageError, describe, did_you_mean
from wsgiproof.files import open_regular, place, read_at_most
from wsgiproof.ownership import invoking_users, why_file_unsafe
from wsgiproof.subjects.axis import Axis
from wsgiproof.subjects.registry import DEFAULT

NAMES = ("wsgiproof.toml", "pyproject.toml")
_LARGEST = 1 << 20
"""Bytes of a file."""
_HAS_TABLE = re.compile(rb"tool[\"']?\s*\.\s*[\"']?wsgiproof")
"""Matches a pyproject.toml that has the table ``[tool.wsgiproof]``."""
_FILES = ("app", "httpd_conf", "output", "apxs", "constraint", "home")
"""Keys whose values are always paths."""
_LISTS = frozenset({*ALL_AXES, "only", "cells", "requirement", "directive", "url"})
"""Keys that take one value, or several."""
_TABLES: dict[str, type[msgspec.Struct]] = {
    "include": Combination,
    "exclude": Exclusion,
    "overrides": Override,
    "known": KnownTable,
}
"""Keys that take a list of tables."""
_SETS = "sets"
_LIFTED = ("axes", "names")
_FEW = 10
"""Names that a message lists."""


class ConfigFile(Config, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All keys of a file."""

    sets: Annotated[
        Mapping[str, Config],
        msgspec.Meta(
            description="Named changes to the keys above, for 'wsgiproof run --set NAME'."
        ),
    ] = {}


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read and checked."""

    path: Path
    values: Mapping[str, Any]


def find(start: Path) -> Path | None:
    """Return the nearest file, from ``start`` upwards; None if there is none.

    Pass ``found_from`` to :func:`load`, which then decides whether the file may be used.
    """
    for directory in (start, *start.parents):
        for name in NAMES:
            path = directory / name
            if os.path.isfile(path) and (name == NAMES[0] or _is_meant(path, start)):  # noqa: PTH113 - False where nobody may look
                return path
    return None


def load(path: Path, *, found_from: Path | None = None) -> Loaded:
    """Read and check ``path``. Raises :class:`UsageError`, in one line, for whatever is wrong.

    ``found_from`` is the directory from which :func:`find` found the file; None if the user named
    it. A configuration decides which programs run, so a file that was found has to belong to the
    user or to root.
    """
    path = path.absolute()
    content, why = _content(path, found_from)
    if why:
        raise UsageError(
            f"{path} is not used, since {why}: if you trust it, give --config {path}, and "
            "--no-config if not"
        )
    document = _parsed(content, path)
    table = document if path.name != NAMES[1] else _table(document)
    if table is None:
        raise UsageError(f"{path} has no table [tool.wsgiproof]")
    try:
        values = _with_requirements(lifted(_as_lists(table)), path.parent)
        msgspec.convert(values, ConfigFile)
        return Loaded(path=path, values=anchored(values, path.parent))
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {_explained(str(error))}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: its tables are nested too deeply") from error


def combine(file: Loaded | None, chosen: str, options: Mapping[str, Any]) -> Config:
    """Return the configuration of the file, changed by its set ``chosen`` (none if empty), then by
    ``options``, which are the keys given on the command line.

    Raises :class:`UsageError` if there is no such set, or if values contradict each other.
    """
    values = dict(file.values) if file else {}
    sets: Mapping[str, Any] = values.pop("sets", {})
    if chosen and chosen not in sets:
        if file is None:
            raise UsageError(
                f"--set {chosen}: no configuration file is used: 'wsgiproof init' writes one, and "
                "--config names one"
            )
        if not sets:
            raise UsageError(f"--set {chosen}: {file.path} has no table [{_SETS}.{chosen}]")
        raise UsageError(
            f"--set {chosen}: {file.path} has no such set{_nearest(chosen, list(sets))}"
        )
    for changes in (sets.get(chosen, {}), options):
        inner = {key: values.get(key, {}) | changes.get(key, {}) for key in _LIFTED}
        values = without_replaced(values, changes)
        values |= {**changes, **inner}
    try:
        config = msgspec.convert(values, Config)
        config.check_subject()
    except msgspec.ValidationError as error:
        raise UsageError(_explained(str(error))) from error
    return config


def starter() -> str:
    """Return a file to begin with: every key, commented out, with what it does."""
    text = (resources.files("wsgiproof") / "starter.toml").read_text()
    blocks = [block for axis in ALL_AXES.values() for block in _starter_blocks(axis)]
    text = text.replace("@AXES@\n", "\n".join(blocks) + "\n")
    return text.replace("@SUBJECT@", f'#subject = "{DEFAULT.name}"')


def _starter_blocks(axis: Axis) -> Iterator[str]:
    """Yield what the axis is for and its key, and the same for the table of its names."""
    choices = ", ".join(f'"{choice}"' for choice in axis.choices)
    yield _commented(f"{axis.about} {choices}.") if choices else _commented(axis.about)
    default = ", ".join(f'"{one}"' for one in axis.default)
    yield f"#{axis.name} = {axis.example or f'[{default}]'}\n"
    if axis.names:
        yield _commented(axis.about_names)
        yield f"#{axis.names} = {axis.example_names}\n"


def _commented(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 98, initial_indent="# ", subsequent_indent="# "))


def schema() -> dict[str, Any]:
    """Return the JSON schema of a file, for editors. The classes that check a file define it."""
    made = msgspec.json.schema(ConfigFile)
    for definition in made["$defs"].values():
        keys = definition.get("properties", {})
        if keys.pop("axes", None):
            definition["properties"] = keys = {name: _of_axis(name) for name in ALL_AXES} | keys
        if keys.pop("names", None):
            keys |= {key: _of_names(axis.about_names) for key, axis in TABLES_OF_NAMES.items()}
        for name, key in keys.items():
            if name in _LISTS and "anyOf" not in key:
                one = key["items"]
                several = {word: key.pop(word) for word in ("type", "items")}
                key["anyOf"] = [one, several]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wsgiproof.toml",
        **made,
    }


def _of_axis(name: str) -> dict[str, Any]:
    axis = ALL_AXES[name]
    one: dict[str, Any] = {"enum": sorted(axis.choices)} if axis.choices else {"type": "string"}
    return {"description": axis.about.rstrip(":"), "anyOf": [one, {"type": "array", "items": one}]}


def _of_names(about: str) -> dict[str, Any]:
    return {
        "description": about,
        "type": "object",
        "additionalProperties": {"type": "string"},
        "default": {},
    }


def _is_meant(pyproject: Path, start: Path) -> bool:
    """Whether it has the table ``[tool.wsgiproof]``. A file that another user may write is not
    parsed, because a hostile one takes very long: a pattern is searched for instead."""
    try:
        content, why = _content(pyproject, start)
    except UsageError:
        if os.access(pyproject, os.R_OK):
            raise
        return False
    if why:
        return _HAS_TABLE.search(content) is not None
    return _table(_parsed(content, pyproject)) is not None


def _content(path: Path, found_from: Path | None) -> tuple[bytes, str]:
    """Return the content of the file, and why it must not be used if it was found. Both come from
    one open file, so that no other file can take its place in between."""
    try:
        with open_regular(path, follow=True) as file:
            status = os.fstat(file.fileno())
            content = read_at_most(file, _LARGEST + 1)
    except OSError as error:
        raise UsageError(describe(error)) from error
    why = ""
    if found_from is not None:
        why = why_file_unsafe(path, status, found_from, invoking_users())
    if len(content) > _LARGEST and not why:
        raise UsageError(f"{path}: it is larger than {_LARGEST:,} bytes")
    return content, why


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: it is not UTF-8, as TOML has to be") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: it is not TOML: {error or type(error).__name__}") from error


def _table(document: Mapping[str, Any]) -> dict[str, Any] | None:
    tool = document.get("tool")
    table = tool.get("wsgiproof") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _as_lists(table: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each single value by a list where a list is meant, in nested tables as well."""
    return {key: _as_list(key, value) for key, value in table.items()}


def _as_list(key: str, value: Any) -> Any:
    if key in _LISTS:
        return value if isinstance(value, list) else [value]
    if key in _TABLES and isinstance(value, list):
        return [_as_lists(one) if isinstance(one, dict) else one for one in value]
    if key == _SETS and isinstance(value, dict):
        return {
            name: _as_lists(one) if isinstance(one, dict) else one for name, one in value.items()
        }
    return value


def lifted(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with its axes under ``axes``, and its names of values under ``names``.

    Raises :class:`UsageError` if one of their values is not a text.
    """
    for inner in _LIFTED:  # keys of our own, and not of a file
        if inner in table:
            raise UsageError(f"there is no key '{inner}'{_nearest(inner, _keys(''))}")
    rest = {key: _lifted(key, value) for key, value in table.items()}
    for inner, keys in (("axes", ALL_AXES), ("names", TABLES_OF_NAMES)):
        found = {key: rest.pop(key) for key in keys if key in rest}
        for key, values in found.items():
            _check_texts(key, values, table=inner == "names")
        if found:
            rest[inner] = found
    return rest


def _check_texts(key: str, values: Any, *, table: bool) -> None:
    if table and not isinstance(values, dict):
        raise UsageError(f"a table is needed in '{key}', not {_kind(values)}")
    for value in values.values() if table else values:
        if not isinstance(value, str):
            raise UsageError(f"{_KINDS['str']} is needed in '{key}', not {_kind(value)}")


def _kind(value: Any) -> str:
    name = type(value).__name__
    return _KINDS[{"list": "array", "dict": "object"}.get(name, name)]


def _lifted(key: str, value: Any) -> Any:
    if key in _TABLES and isinstance(value, list):
        return [lifted(one) if isinstance(one, dict) else one for one in value]
    if key == _SETS and isinstance(value, dict):
        return {name: lifted(one) if isinstance(one, dict) else one for name, one in value.items()}
    return value


def anchored(values: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the same keys with each relative path made absolute; it starts at ``directory``.

    A file of requirements is replaced by what it lists.
    """
    return {key: _relative(key, value, directory) for key, value in values.items()}


def _with_requirements(values: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the values of a file with what its files of requirements list.

    They are not checked yet: a value of another type stays as it is.
    """
    changed = dict(values)
    listed = values.get("requirement")
    if isinstance(listed, list) and all(isinstance(one, str) for one in listed):
        changed |= anchored({"requirement": listed}, directory)
    if isinstance(sets := values.get(_SETS), dict):
        changed[_SETS] = {
            name: _with_requirements(one, directory) if isinstance(one, dict) else one
            for name, one in sets.items()
        }
    return changed


def _relative(key: str, value: Any, directory: Path) -> Any:
    if key == "axes":
        return {
            name: [ALL_AXES[name].absolute(one, directory) for one in its]
            for name, its in value.items()
        }
    if key in _FILES:
        return value and place(value, directory)
    if key == "requirement":
        return [one for text in value for one in requirements(text, directory)]
    if key == "names":
        return {
            table: {
                name: TABLES_OF_NAMES[table].absolute(one, directory) for name, one in its.items()
            }
            for table, its in value.items()
        }
    if key in _TABLES:
        return [anchored(table, directory) for table in value]
    if key == _SETS:
        return {name: anchored(one, directory) for name, one in value.items()}
    return value


_UNKNOWN = re.compile(
    r"Object contains unknown field `(?P<name>.*?)`(?: - at `(?P<where>.*)`)?", re.S
)
_INVALID = re.compile(r"Invalid enum value '(?P<name>.*?)'(?: - at `(?P<where>.*)`)?", re.S)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`(?: - at `(?P<where>.*)`)?")
_OTHER_KIND = re.compile(r"Expected `(?P<name>.*?)`, got `(?P<got>.*?)`(?: - at `(?P<where>.*)`)?")
_KINDS = {
    "str": "a text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "datetime": "a time",
    "date": "a date",
    "time": "a time of day",
}


def _explained(message: str) -> str:
    """Return what is wrong, where, and the nearest valid name; in one line."""
    if wrong := _UNKNOWN.fullmatch(message):
        name, where = wrong["name"], wrong["where"] or ""
        hint = _nearest(name, _keys(where)) if name != _SETS else ": a set can't contain sets"
        return f"there is no key '{name}'{_in(where)}{hint}"
    if wrong := _INVALID.fullmatch(message):
        name, where = wrong["name"], wrong["where"] or ""
        return f"'{name}' is not a value{_in(where, 'of')}" + _nearest(name, _values(where))
    if wrong := _MISSING.fullmatch(message):
        return f"there has to be a key '{wrong['name']}'{_in(wrong['where'] or '')}"
    if wrong := _OTHER_KIND.fullmatch(message):
        kinds = [_KINDS.get(kind, kind) for kind in wrong["name"].split(" | ") if kind != "null"]
        got = _KINDS.get(wrong["got"], wrong["got"])
        return f"{' or '.join(kinds)} is needed{_in(wrong['where'] or '')}, not {got}"
    return message.replace("$.", "")


def _in(where: str, word: str = "in") -> str:
    keys = re.sub(r"\[.*?\]|\b(axes|names)\.", "", where).removeprefix("$").removeprefix(".")
    return f" {word} '{keys}'" if keys else ""


def _keys(where: str) -> Sequence[str]:
    """Return the keys of the table at ``where``, such as ``$.sets[...].include[...]``."""
    structs: dict[str, type[msgspec.Struct]] = {_SETS: Config, **_TABLES}
    inner = [structs[word] for word in re.findall(r"[a-z_]+", where) if word in structs]
    struct = inner[-1] if inner else ConfigFile
    fields = [name for name in struct.__struct_fields__ if name not in _LIFTED]
    axes = [*ALL_AXES] if "axes" in struct.__struct_fields__ else []
    return [*axes, *(TABLES_OF_NAMES if "names" in struct.__struct_fields__ else ()), *fields]


def _values(where: str) -> Sequence[str]:
    """Return the values of the key at ``where``, such as ``$.mode[...]``."""
    key = re.findall(r"[a-z_]+", where)[-1]
    kinds = {field.name: field.type for struct in (Config, Override) for field in _fields(struct)}
    return _choices(kinds[key])


def _fields(struct: type[msgspec.Struct]) -> Sequence[msgspec.inspect.Field]:
    described = msgspec.inspect.type_info(struct)
    assert isinstance(described, msgspec.inspect.StructType)
    return described.fields


def _choices(kind: Any) -> list[str]:
    """Return the members of the enumeration that is somewhere inside a type."""
    if isinstance(kind, msgspec.inspect.EnumType):
        return [str(member.value) for member in kind.cls]
    inner = [getattr(kind, "item_type", None), getattr(kind, "type", None)]
    inner += [*getattr(kind, "types", ())]
    return [choice for one in inner if one is not None for choice in _choices(one)]


def _nearest(name: str, valid: Sequence[str]) -> str:
    """Return the end of a message: what may have been meant, or the names where they are few."""
    if near := did_you_mean(name, valid):
        return near
    if len(valid) > _FEW:
        return "; 'wsgiproof init' writes a file with every key"
    return f"; there is {', '.join(valid)}" if valid else ""
