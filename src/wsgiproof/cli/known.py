"""Everything that has an identifier: the catalog of ``explain``, and the controls.

They are those of all subjects together. The judge does not know of controls.
"""

from __future__ import annotations

from wsgiproof.judge.explain.catalog import Entry
from wsgiproof.judge.explain.lookup import FindingText, Topic, by_name
from wsgiproof.judge.explain.lookup import ids as catalog_ids
from wsgiproof.subjects.controls import Control
from wsgiproof.subjects.registry import all_rules, known_controls


def ids() -> tuple[str, ...]:
    """Return every identifier."""
    return (*catalog_ids(all_rules()), *known_controls())


def named(name: str) -> Entry | FindingText | Topic | None:
    """Return what an identifier stands for; None if it is unknown. Case does not matter."""
    control = known_controls().get(name.lower())
    return by_name(name, all_rules()) or (_topic(control) if control else None)


def controls() -> tuple[Topic, ...]:
    """Return every control: the planted faults, then the negative controls."""
    return tuple(map(_topic, sorted(known_controls().values(), key=lambda one: not one.trips)))


def _topic(control: Control) -> Topic:
    return Topic(
        id=control.name,
        kind="planted fault" if control.trips else "negative control",
        meaning=control.about,
        see="wsgiproof selftest --list",
    )
