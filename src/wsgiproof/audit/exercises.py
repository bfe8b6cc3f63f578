"""What is done with the best-known packages after their import, as data."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

from packaging.utils import canonicalize_name


@functools.cache
def exercises() -> dict[str, str]:
    """Return the code for each package that has an exercise, by its normalized name."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


def exercise_for(name: str) -> str:
    """Return the exercise of a distribution; empty if it is only imported."""
    return exercises().get(canonicalize_name(name), "")
