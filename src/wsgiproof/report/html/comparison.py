"""The comparison of two runs as a page shows it: what changed, and the key figures of both."""

from __future__ import annotations

from typing import Any

from wsgiproof.analysis.axes import title
from wsgiproof.analysis.compare import compare, paired
from wsgiproof.analysis.figures import by_name, of_other_machines
from wsgiproof.records.run import RunRecord


def comparison(old: RunRecord, new: RunRecord) -> dict[str, Any]:
    """Return what ``wsgiproof compare`` prints as JSON, and the figures of each pair of cells."""
    compared = compare(old, new)
    return compared.to_json() | {
        "paired_without": title(compared.paired_without) if compared.paired_without else "",
        "axes": [
            {"axis": title(one.axis), "old": one.old, "new": one.new} for one in compared.axes
        ],
        "rates": [{"text": one.describe(), "worse": one.worse} for one in compared.rates],
        "moved": of_other_machines(compared.other_machines, "pair"),
        "old_run": _run(old),
        "new_run": _run(new),
        "figures": [
            {
                "old": before.cell.id,
                "new": after.cell.id,
                "was": {name: one.text for name, one in by_name(before).items()},
                "now": {name: one.text for name, one in by_name(after).items()},
            }
            for before, after in paired(old, new)
        ],
    }


def _run(record: RunRecord) -> dict[str, str]:
    return {"started": record.started, "command": record.command, "wsgiproof": record.wsgiproof}
