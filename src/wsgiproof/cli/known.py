"""Everything that has an identifier: the catalog of ``explain``, and the controls.

They are those of all subjects together. The judge does not know of controls.
"""

from __future__ import annotations

from wsgiproof.judge.explain.catalog import Entry
from wsgiproof.judge.explain.lookup import FindingText, Topic, by_name
from wsgiproof.judge.explain.lookup import ids as catalog_ids
from wsgiproof.subjects.controls import CONTROLS
from wsgiproof.subjects.registry import all_rules


def ids() -> tuple[str, ...]:
    """Return every identifier."""
    return (*catalog_ids(all_rules()), *CONTROLS)


def named(name: str) -> Entry | FindingText | Topic | None:
    """Return what an identifier stands for; None if it is unknown. Case does not matter."""
    lower = name.lower()
    return by_name(name, all_rules()) or (_control(lower) if lower in CONTROLS else None)


def controls() -> tuple[Topic, ...]:
    """Return every control: the planted faults, then the negative controls."""
    return tuple(map(_control, sorted(CONTROLS, key=lambda name: not CONTROLS[name].trips)))


def _control(name: str) -> Topic:
    control = CONTROLS[name]
    return Topic(
        id=name,
        kind="planted fault" if control.trips else "negative control",
        meaning=control.about,
        see="wsgiproof selftest --list",
    )
