"""What a subject adds to the judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from wsgiproof.judge.explain.catalog import Catalog, Entry, common_catalog
from wsgiproof.judge.finding import Check, ClaimsOf
from wsgiproof.judge.resources import LEFT_OUTSIDE, PROCESS_RESOURCES, Resource, Resources
from wsgiproof.records.cell import Cell


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a subject is judged, beside the checks that all subjects have."""

    title: str = "the subject"
    """The name of the subject, for people."""
    packages: tuple[str, ...] = ()
    """The packages that it consists of, as they are imported. A warning of one is a finding."""
    unserved: str = ""
    """How the line of an exception begins that it raises while it has no server: the name of a
    module; empty if it needs no server."""
    claims: ClaimsOf = lambda cell, identity, every: ()
    """What has to be true of it in each interpreter."""
    checks: Mapping[str, Check] = {}
    """Its own checks by their names, in the order in which they are shown."""
    resources: tuple[Resource, ...] = ()
    """What is counted of it alone. Each has a check."""
    entries: tuple[Entry, ...] = ()
    """What is known of its lines, stacks and responses."""

    @property
    def catalog(self) -> Catalog:
        """All that is known: its own entries, and then those of every subject."""
        return common_catalog().after(self.entries)

    @property
    def counted(self) -> Resources:
        """Every resource that is counted, its own ones first."""
        every = (*self.resources, *PROCESS_RESOURCES, *LEFT_OUTSIDE)
        return {resource.check: resource for resource in every}


RulesOf = Callable[[Cell], Rules]
"""Returns the rules of the subject of a cell."""


def together(several: Sequence[Rules]) -> Rules:
    """Return the checks, resources and entries of several subjects as if they were one."""
    return Rules(
        checks={name: check for one in several for name, check in one.checks.items()},
        resources=tuple(resource for one in several for resource in one.resources),
        entries=tuple(entry for one in several for entry in one.entries),
    )
