"""What is done with the best-known packages after their import, as data."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

_FIRST = "import_first"


@functools.cache
def _registry() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


def exercises() -> dict[str, str]:
    """Return the code for each package that has an exercise, by its normalized name."""
    return {name: code for name, code in _registry().items() if name != _FIRST}


def exercise_for(name: str) -> str:
    """Return the exercise of a distribution; empty if it is only imported."""
    return str(_registry().get(canonicalize_name(name), ""))


def imported_first(name: str) -> tuple[str, ...]:
    """Return the modules without which those of a distribution can't be imported in any
    interpreter."""
    return tuple(_registry()[_FIRST].get(canonicalize_name(name), ()))
