"""The tables ``[[known]]`` of a file: findings that are known, and the cells that they apply to."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec
from packaging.version import InvalidVersion, Version

from wsgiproof.config.axes import ALL_AXES
from wsgiproof.errors import UsageError, did_you_mean
from wsgiproof.records.cell import Cell
from wsgiproof.records.known import Known
from wsgiproof.subjects.registry import all_rules

_VERSIONS = {axis.name for axis in ALL_AXES.values() if axis.title}
"""The axes whose values are versions."""


class KnownTable(Known, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Findings that are known. Each is a check, with an entry of the catalog or a signature."""

    def __post_init__(self) -> None:
        _check_names(self)
        if not self.reason.strip():
            raise UsageError("known: 'reason' is empty: say why the finding is accepted")
        if not self.entry and not self.signature:
            raise UsageError(
                f"known: '{self.check}' alone would accept whatever this check finds: name an "
                "'entry', a 'signature', or both"
            )
        for axis, version in self.until.items():
            _check_version(axis, version)
        _check_at_most(self)

    def in_cell(self, cell: Cell) -> Known | None:
        """Return what the record of a cell says of it; None if it does not apply to the cell."""
        if not any(fnmatchcase(cell.id, pattern) for pattern in self.cells):
            return None
        if any(_is_reached(version, cell, axis) for axis, version in self.until.items()):
            return None
        return Known(**msgspec.structs.asdict(self))


def _check_names(table: KnownTable) -> None:
    # Imported here, since the judge takes a while and few command lines need it.
    from wsgiproof.judge.verdict import every_check

    rules = all_rules()
    checks = [*every_check(rules)]
    if table.check not in checks:
        near = did_you_mean(table.check, checks) or "; 'wsgiproof explain --list' lists them all"
        raise UsageError(f"known: there is no check '{table.check}'{near}")
    entries = [*(entry.id for entry in rules.catalog.entries), *rules.catalog.codes]
    if table.entry and table.entry not in entries:
        near = did_you_mean(table.entry, entries) or "; 'wsgiproof explain --list' lists them all"
        raise UsageError(f"known: there is no entry '{table.entry}' in the catalog{near}")


def _check_version(axis: str, version: str) -> None:
    if axis not in _VERSIONS:
        near = did_you_mean(axis, _VERSIONS) or f"; there is {', '.join(sorted(_VERSIONS))}"
        raise UsageError(f"known: 'until' has no version of '{axis}'{near}")
    if _version(version) is None:
        raise UsageError(f"known: '{version}' is not a version of '{axis}', such as 6.2")


def _check_at_most(table: KnownTable) -> None:
    from wsgiproof.judge.known import RATED

    if table.at_most is None:
        return
    if table.check not in RATED:
        raise UsageError(
            f"known: 'at_most' is for the checks {' and '.join(RATED)}: '{table.check}' has no rate"
        )
    if not 0 < table.at_most <= 1:
        raise UsageError(f"known: 'at_most' is a probability, from 0 to 1, and not {table.at_most}")


def _is_reached(version: str, cell: Cell, axis: str) -> bool:
    """Return whether a cell has this version of an axis, or a later one."""
    limit, own = _version(version), _version(str(cell.axes.get(axis, "")))
    return limit is not None and own is not None and own >= limit


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
