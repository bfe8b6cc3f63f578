"""Any part of a record as text for people, whatever its fields are."""

from __future__ import annotations

from typing import Any

import msgspec


def outline(value: Any) -> str:
    """Return a text unchanged, and of anything else the names and values that are not empty.

    Each item of a list of things has a line of its own, indented below the owner of the list.
    """
    return "\n".join(_lines(msgspec.to_builtins(value)))


def _lines(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split("\n")
    if isinstance(value, dict):
        return _of_dict(value)
    if isinstance(value, list | tuple):
        if any(isinstance(one, dict) for one in value):
            return [line for one in value for line in _lines(one)]
        return [", ".join(map(_in_line, value))]
    return [str(value)]


def _of_dict(value: dict[str, Any]) -> list[str]:
    """Values that fit into a line first, then those that need lines of their own."""
    filled = {name: one for name, one in value.items() if one not in ("", None, [], {}, (), False)}
    short = [f"{name} {_in_line(one)}" for name, one in filled.items() if not _is_long(one)]
    lines = [", ".join(short)] if short else []
    for name, one in filled.items():
        if _is_long(one):
            lines += [f"{name}:", *(f"  {line}" for line in _lines(one))]
    return lines


def _is_long(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(one, dict) for one in value)
    return isinstance(value, dict) or (isinstance(value, str) and "\n" in value)


def _in_line(value: Any) -> str:
    """A pair, as of a type and a count, without the comma."""
    if isinstance(value, list | tuple):
        return (" " if len(value) == 2 else ", ").join(map(_in_line, value))
    return str(value)
