"""The bound that a pass of a count states."""

from __future__ import annotations

import re

_BOUND = re.compile(r"a leak of one in ([\d,]+) requests would have shown")


def stated_bound(reason: str) -> int:
    """Return the rate of a leak that this pass excludes, one in so many requests; 0 if it states
    none."""
    stated = _BOUND.search(reason)
    return int(stated[1].replace(",", "")) if stated else 0
