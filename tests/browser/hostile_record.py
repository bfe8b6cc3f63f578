"""A run in which an attacker wrote every text that is not ours."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.browser.replayed import recorded
from tests.unit.factories import run_record
from wsgiproof.records.run import CellRecord, Excluded, RunRecord

SAYS = "hostile words"
TEXT = (
    f"{SAYS} </script></title></style></textarea>--><script>window.harmed=1</script>"
    "<img src=x onerror='window.harmed=1'><svg onload=window.harmed=1>"
    '"\'><a href="javascript:window.harmed=1">x</a>]]>{{7*7}}${7*7}&amp;<b>'
    "\x1b[2J\x1b]0;t\x07\x00\x85\u202egnp.exe\u2066\u2028\u2029\ufeff\b\r<!--\n`|**__proto__"
)
_OURS = {"kind", "role", "verdict", "id", "gil", "python", "mod_wsgi", "pymongo", "python_name"}
"""Fields that have words of ours, or that a cell is known by."""
_MEGABYTES = 3_000_000


def hostile() -> RunRecord:
    """It failed, was in doubt, and crashed."""
    cells = [_harmful(recorded(end)) for end in _ENDS]
    return run_record(
        *cells,
        wsgiproof=TEXT,
        command=TEXT,
        started=TEXT,
        finished=TEXT,
        planned=(*(cell.cell.id for cell in cells), f"gone {TEXT}", "__proto__", "constructor"),
        excluded=(Excluded(axes={TEXT: TEXT, "mode": TEXT}, reason=TEXT),),
        host={TEXT: TEXT, "system": TEXT},
    )


_ENDS = ("leak-connection", "crash-in-request", "log-traceback-ed8edf2d")


def endless() -> RunRecord:
    """Megabytes, in a line and in lines."""
    record = _harmful(recorded("log-lines-c5aafc23"))
    assert record.observed is not None
    line = record.observed.log[0]
    logged = [msgspec.structs.replace(line, text=f"{number} {TEXT}") for number in range(5_000)]
    logged[7] = msgspec.structs.replace(line, text="x" * _MEGABYTES)
    seen = msgspec.structs.replace(
        record.observed, log=tuple(logged), fatal_traces=("y\n" * _MEGABYTES, "z" * _MEGABYTES)
    )
    return run_record(msgspec.structs.replace(record, observed=seen, reason="r" * _MEGABYTES))


def _harmful(record: CellRecord) -> CellRecord:
    original = msgspec.to_builtins(record)
    changed = {name: _changed(value) for name, value in original.items() if name != "cell"}
    changed |= {name: original[name] for name in ("cell", "verdict", "directory")}
    for at, check in enumerate(changed["checks"]):
        check["check"] = ["__proto__", "constructor", TEXT, *_NAMES][at % 6]
        check["verdict"] = original["checks"][at]["verdict"]
    for finding in changed["findings"]:
        finding["check"] = TEXT
    changed["tries"] = [TEXT, "__proto__"]
    return msgspec.convert(changed, CellRecord, strict=False)


_NAMES = ("toString", "responses", "hasOwnProperty")


def _changed(value: Any, field: str = "") -> Any:
    if isinstance(value, str):
        return value if field in _OURS or field == "phase" else TEXT
    if isinstance(value, dict):
        return {key: _changed(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(one, field) for one in value]
    return value
