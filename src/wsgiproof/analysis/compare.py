"""Compares two runs of the same cells. Pure: two records in, a comparison out.

Cells are paired by their ids. If no id is in both runs because all cells differ in one axis, such
as two versions of the subject, they are paired by all other axes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from wsgiproof.analysis.axes import axes_of, value_of
from wsgiproof.judge.finding import count
from wsgiproof.judge.process_ends import CONFIDENCE, chance_of_difference, process_ends
from wsgiproof.records.cell import Cell
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.run import FORMAT, CellRecord, RunRecord

Key = Callable[[Cell], str]
MISSING = "never ran"
ABSENT = "not there"
_RANKS: dict[str, int] = {
    Verdict.PASS: 0,
    Verdict.KNOWN: 0,
    Verdict.SKIPPED: 1,
    ABSENT: 1,
    Verdict.INCONCLUSIVE: 2,
    Verdict.ERROR: 3,
    MISSING: 3,
    Verdict.FAIL: 4,
}
"""From good to bad. Evidence that is missing now is worse than a pass; what is known is not."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A cell, or one of its checks, whose verdict changed."""

    was: str
    now: str
    was_reason: str = ""
    now_reason: str = ""
    worse: bool


class CheckChange(Change, frozen=True, kw_only=True):
    """A check of a cell whose verdict changed."""

    check: str


class CellChange(Change, frozen=True, kw_only=True):
    """A cell whose verdict changed, or that of any of its checks."""

    old: str
    """Its id in the old run."""
    new: str
    """Its id in the new run; empty if it never ran there."""
    checks: tuple[CheckChange, ...] = ()


class AxisChange(msgspec.Struct, frozen=True, kw_only=True):
    """An axis in which paired cells differ."""

    axis: str
    old: tuple[str, ...]
    new: tuple[str, ...]


class RateChange(msgspec.Struct, frozen=True, kw_only=True):
    """How often processes went wrong at their end, before and now."""

    what: str
    """``crashed`` or ``hung``."""
    cell: str
    """The id of the cell in the old run; empty for all compared cells together."""
    old: tuple[int, int]
    """How many ends went wrong, and how many there were."""
    new: tuple[int, int]
    chance: float
    """The probability of a difference as large as this, if nothing has changed."""

    @property
    def worse(self) -> bool:
        """Whether the rate is higher now, and chance hardly explains that."""
        (wrong, ends), (wrong_now, ends_now) = self.old, self.new
        return wrong_now * ends > wrong * ends_now and self.chance < 1 - CONFIDENCE

    def describe(self) -> str:
        """Return the rates and the chance as a sentence."""
        (wrong, ends), (wrong_now, ends_now) = self.old, self.new
        return (
            f"{self.cell or 'all compared cells'}: {wrong:,} of {count(ends, 'process end')} "
            f"{self.what}, now {wrong_now:,} of {ends_now:,}; chance alone does that with "
            f"{100 * self.chance:.2g} %"
        )


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All differences between two runs, and the number of cells without any."""

    paired_without: str = ""
    """The axis that pairing ignored; empty if cells were paired by their ids."""
    axes: tuple[AxisChange, ...] = ()
    changed: tuple[CellChange, ...] = ()
    rates: tuple[RateChange, ...] = ()
    """Of cells in which a process went wrong at its end, in any of the two runs."""
    same: int = 0
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()
    other_machines: int = 0
    """The number of pairs of cells that ran on different machines, as far as records say."""

    @property
    def compared(self) -> int:
        """The number of pairs."""
        return self.same + len(self.changed)

    @property
    def worse(self) -> bool:
        """Whether anything got worse."""
        cells = any(change.worse for change in self.changed)
        return cells or any(rate.worse for rate in self.rates)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as ``docs/results.md`` describes it."""
        return {
            "format": FORMAT,
            "worse": self.worse,
            "compared": self.compared,
            **msgspec.structs.asdict(self),
        }


def compare(old: RunRecord, new: RunRecord) -> Comparison:
    """Compare two runs, including the cells that the new one planned and never ran."""
    without, key = _pairing([one.cell for one in old.cells], [one.cell for one in new.cells])
    pairs = _pairs(old.cells, new.cells, key)
    missing = {*new.missing}
    gone = [one for one in old.cells if missing & {one.cell.id, key(one.cell)}]
    changes = [*(_cell_change(*pair) for pair in pairs), *map(_gone, gone)]
    changed = tuple(change for change in changes if change is not None)
    return Comparison(
        paired_without=without,
        axes=tuple(_axes(pairs)),
        changed=changed,
        rates=tuple(_rates(pairs)),
        same=len(changes) - len(changed),
        only_old=_others(old.cells, [*(one for one, _ in pairs), *gone]),
        only_new=_others(new.cells, [one for _, one in pairs]),
        other_machines=sum(one.host != other.host for one, other in pairs),
    )


def paired(old: RunRecord, new: RunRecord) -> list[tuple[CellRecord, CellRecord]]:
    """Return each pair: a cell of the old run and its counterpart in the new one."""
    _, key = _pairing([one.cell for one in old.cells], [one.cell for one in new.cells])
    return _pairs(old.cells, new.cells, key)


def _pairs(
    old: Sequence[CellRecord], new: Sequence[CellRecord], key: Key
) -> list[tuple[CellRecord, CellRecord]]:
    before, after = _unique(old, key), _unique(new, key)
    return [(one, after[name]) for name, one in before.items() if name in after]


def _pairing(old: Sequence[Cell], new: Sequence[Cell]) -> tuple[str, Key]:
    """The key that pairs cells: their ids, or their ids without one axis, which is named.

    There is at most one such axis: if all cells differed in two axes, none would differ in only
    one of them.
    """
    if new and not _in_both(old, new, _id):
        for axis in axes_of([*old, *new]):
            values = {value_of(axis, cell) for cell in old}
            apart = values.isdisjoint(value_of(axis, cell) for cell in new)
            key = partial(_id_with, axis, new[0])
            if apart and _in_both(old, new, key):
                return axis, key
    return "", _id


def _in_both(old: Sequence[Cell], new: Sequence[Cell], key: Key) -> bool:
    return not set(map(key, old)).isdisjoint(map(key, new))


def _id(cell: Cell) -> str:
    """The id that ``cell`` would have in any run: it names an Apache that was asked for only if the
    run has several."""
    return msgspec.structs.replace(cell, httpd_name=cell.httpd_path).id


def _id_with(axis: str, other: Cell, cell: Cell) -> str:
    """The id that ``cell`` would have with the value of this axis in the ``other`` one."""
    fields = {axis, f"{axis}_name", f"{axis}_path", f"{axis}_commit"} & set(Cell.__struct_fields__)
    changes: dict[str, Any] = {field: getattr(other, field) for field in fields}
    if not fields:  # an axis of the subject
        others = {one.axis: one for one in other.of_subject}
        changes["of_subject"] = tuple(
            others.get(one.axis, one) if one.axis == axis else one for one in cell.of_subject
        )
    return _id(msgspec.structs.replace(cell, **changes))


def _unique(cells: Sequence[CellRecord], key: Key) -> dict[str, CellRecord]:
    """The cells by their keys, without those that share a key, which would be ambiguous."""
    number = Counter(key(one.cell) for one in cells)
    return {key(one.cell): one for one in cells if number[key(one.cell)] == 1}


def _others(cells: Sequence[CellRecord], compared: Sequence[CellRecord]) -> tuple[str, ...]:
    ids = {one.cell.id for one in compared}
    return tuple(one.cell.id for one in cells if one.cell.id not in ids)


def _axes(pairs: Sequence[tuple[CellRecord, CellRecord]]) -> Iterator[AxisChange]:
    for axis in axes_of(one.cell for pair in pairs for one in pair):
        both = [(value_of(axis, one.cell), value_of(axis, other.cell)) for one, other in pairs]
        differing = [(old, new) for old, new in both if old != new]
        if differing:
            before, after = zip(*dict.fromkeys(differing), strict=True)
            yield AxisChange(
                axis=axis, old=tuple(dict.fromkeys(before)), new=tuple(dict.fromkeys(after))
            )


def _cell_change(old: CellRecord, new: CellRecord) -> CellChange | None:
    """None if no verdict changed; numbers in a reason may differ."""
    checks = tuple(_check_changes(old, new))
    if old.verdict is new.verdict and not checks:
        return None
    return CellChange(
        old=old.cell.id,
        new=new.cell.id,
        was=old.verdict,
        now=new.verdict,
        was_reason=_why(old),
        now_reason=_why(new),
        worse=_worse(old.verdict, new.verdict) or any(check.worse for check in checks),
        checks=checks,
    )


def _rates(pairs: Sequence[tuple[CellRecord, CellRecord]]) -> Iterator[RateChange]:
    """Yield how often processes went wrong at their end, for each pair and for all together."""
    both = [
        (old.cell.id, process_ends(old.observed), process_ends(new.observed))
        for old, new in pairs
        if old.observed is not None and new.observed is not None
    ]
    for what in ("crashed", "hung"):
        rates = [
            _rate_change(
                what,
                name,
                (len(getattr(old, what)), old.total),
                (len(getattr(new, what)), new.total),
            )
            for name, old, new in both
            if old.total and new.total
        ]
        changes = [one for one in rates if one.old[0] or one.new[0]]
        yield from changes
        if len(changes) > 1:
            old, new = _sum(one.old for one in rates), _sum(one.new for one in rates)
            yield _rate_change(what, "", old, new)


def _rate_change(what: str, cell: str, old: tuple[int, int], new: tuple[int, int]) -> RateChange:
    chance = chance_of_difference(old, new)
    return RateChange(what=what, cell=cell, old=old, new=new, chance=chance)


def _sum(rates: Iterable[tuple[int, int]]) -> tuple[int, int]:
    wrong, ends = zip(*rates, strict=True)
    return sum(wrong), sum(ends)


def _gone(old: CellRecord) -> CellChange:
    return CellChange(
        old=old.cell.id,
        new="",
        was=old.verdict,
        now=MISSING,
        was_reason=_why(old),
        worse=_worse(old.verdict, MISSING),
    )


def _why(cell: CellRecord) -> str:
    """What was found; the reason itself only names the checks."""
    return "; ".join(f"{one.check}: {one.seen}" for one in cell.findings) or cell.reason


def _check_changes(old: CellRecord, new: CellRecord) -> Iterator[CheckChange]:
    """Nothing for a cell that could not be run: it has no checks, and its verdict says why."""
    if not old.checks or not new.checks:
        return
    before = {check.check: (str(check.verdict), check.reason) for check in old.checks}
    after = {check.check: (str(check.verdict), check.reason) for check in new.checks}
    for check in dict.fromkeys([*before, *after]):
        was, was_reason = before.get(check, (ABSENT, ""))
        now, now_reason = after.get(check, (ABSENT, ""))
        # A new check of a newer wsgiproof that passes says nothing new about the subject.
        if was != now and not (was == ABSENT and now in (Verdict.PASS, Verdict.SKIPPED)):
            yield CheckChange(
                check=check,
                was=was,
                now=now,
                was_reason=was_reason,
                now_reason=now_reason,
                worse=_worse(was, now),
            )


def _worse(was: str, now: str) -> bool:
    return _RANKS[now] > _RANKS[was]
