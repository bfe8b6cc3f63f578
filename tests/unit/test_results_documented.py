"""``docs/results.md`` and the records: every field is described, and no other one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wsgiproof.analysis.compare import Comparison
from wsgiproof.analysis.figures import TITLES
from wsgiproof.analysis.trends import DATE, WSGIPROOF, Trends
from wsgiproof.records.audit import Audit
from wsgiproof.records.listed import Listed
from wsgiproof.records.machine import RunningServer
from wsgiproof.records.observed import EvidenceKind
from wsgiproof.records.run import FORMAT, CellRecord, RunRecord
from wsgiproof.records.traffic import Traffic

TEXT = (Path(__file__).parents[2] / "docs/results.md").read_text()
ROOTS = (RunRecord, CellRecord, RunningServer, Listed, Traffic, Comparison, Trends, Audit)
"""Everything that wsgiproof writes or prints as JSON and that the page describes."""
COMPUTED = {
    *("id", "axes"),  # CellRecord.summary
    *("pymongo", "topology", "mongodb"),  # Cell.axes, of PyMongo
    *("count", "percentiles"),  # Latencies.to_json
    *("worse", "compared", "figures"),  # Comparison.to_json, Trends.to_json
    *TITLES,
}
"""Keys of the JSON that are not fields."""


def structs(kind: Any) -> Iterator[type]:
    """This struct and all that its fields hold."""
    seen: dict[str, type] = {}
    schema = msgspec.inspect.multi_type_info([kind])
    waiting = [*schema]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls.__qualname__ in seen and seen[info.cls.__qualname__] is info.cls:
                continue
            seen[info.cls.__qualname__] = info.cls
            yield info.cls
            waiting.extend(field.type for field in info.fields)
        elif isinstance(info, msgspec.inspect.UnionType):
            waiting.extend(info.types)
        elif isinstance(info, msgspec.inspect.VarTupleType):
            waiting.append(info.item_type)
        elif isinstance(info, msgspec.inspect.TupleType):
            waiting.extend(info.item_types)
        elif isinstance(info, msgspec.inspect.DictType):
            waiting.extend([info.key_type, info.value_type])


ALL = list(dict.fromkeys(found for root in ROOTS for found in structs(root)))
FIELDS = {name for kind in ALL for name in kind.__struct_encode_fields__}  # type: ignore[attr-defined]
NAMED = set(re.findall(r"`([^`\n]+)`", TEXT))


def described() -> Iterator[str]:
    """The names in the first column of each table of fields."""
    for table in re.split(r"\n\n+", TEXT):
        rows = table.splitlines()
        if re.match(r"\| (?:field\b|axis|figure)", rows[0]):
            for row in rows[2:]:
                yield from re.findall(r"`([^`]+)`", row.split(" | ")[0])


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_field_is_described(kind: Any) -> None:
    assert {*kind.__struct_encode_fields__} <= NAMED


def test_no_field_is_described_that_does_not_exist() -> None:
    names = [*described()]
    assert len(names) > 150
    assert {*names} <= FIELDS | COMPUTED


def test_what_a_field_may_be_is_described() -> None:
    assert {*EvidenceKind.__args__, DATE, WSGIPROOF} <= NAMED  # type: ignore[attr-defined]
    assert f"currently **{FORMAT}**" in TEXT
