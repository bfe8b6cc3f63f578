"""Cells and configurations with the axes of PyMongo, written as keywords."""

from __future__ import annotations

from typing import Any

import msgspec

from wsgiproof.config.file import lifted
from wsgiproof.config.model import Combination, Config, Exclusion
from wsgiproof.records.cell import AxisValue, Cell, Mode
from wsgiproof.subjects.axis import version_value
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.extras import parse_extras
from wsgiproof.subjects.pymongo.uri_options import label_of, parse_options

_AXES = (
    "pymongo",
    "pymongo_path",
    "topology",
    "workload",
    "mongodb",
    "transport",
    "uri_options",
    "extras",
)


def cell_with(cell: Cell, **changes: Any) -> Cell:
    """Return the cell with other values of these axes and fields."""
    of_pymongo = {axis: changes.pop(axis) for axis in _AXES if axis in changes}
    if of_pymongo:
        now = {one.axis: one.value for one in cell.of_subject}
        path = next(one.path for one in cell.of_subject if one.axis == "pymongo")
        changes["of_subject"] = _of_pymongo(**{"pymongo_path": path, **now, **of_pymongo})
    return msgspec.structs.replace(cell, **changes)


def _of_pymongo(
    pymongo: str,
    pymongo_path: str,
    topology: str,
    workload: str,
    mongodb: str,
    transport: str,
    uri_options: str,
    extras: str,
) -> tuple[AxisValue, ...]:
    return (
        version_value("pymongo", pymongo, pymongo_path),
        AxisValue(axis="topology", value=topology, label=topology),
        AxisValue(axis="workload", value=workload, label="" if workload == "crud" else workload),
        AxisValue(axis="mongodb", value=mongodb, label=mongodb),
        AxisValue(axis="transport", value=transport, label="tls" if transport == "tls" else ""),
        AxisValue(
            axis="uri_options", value=uri_options, label=label_of(parse_options(uri_options))
        ),
        AxisValue(axis="extras", value=extras, label="+".join(parse_extras(extras))),
    )


CELL = Cell(
    python="3.12.1",
    mod_wsgi="5.0.2",
    subject="pymongo",
    of_subject=_of_pymongo("4.20.0", "", Topology.STANDALONE, "crud", "", "plain", "none", "none"),
    mode=Mode.DAEMON,
)


def configured(**options: Any) -> Config:
    """Return a configuration; an axis is a keyword, as it is a key in a file."""
    return Config(**lifted(options))


def combination(**axes: Any) -> Combination:
    """Return values of some axes."""
    return Combination(axes=axes)


def exclusion(reason: str = "", **axes: Any) -> Exclusion:
    """Return an exclusion of values of some axes."""
    return Exclusion(axes=axes, reason=reason)
