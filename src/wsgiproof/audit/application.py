"""The WSGI script of the deep tier: it uses one distribution in each request.

It holds the source of the probe, and what the distribution had and did in the main interpreter of a
process of its own, which was asked before. That is data, and never code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from wsgiproof.audit.exercises import exercise_for, imported_first
from wsgiproof.audit.processes import PROBE, Prober, attempt_of
from wsgiproof.judge.audited import ended_badly
from wsgiproof.process.account import Account
from wsgiproof.records.audit import Attempt, Distribution, Stage
from wsgiproof.records.cell import InterpreterKind

_SCRIPT = """\
import json

_PROBE = {source!r}
_JOB = {job!r}
_names = {{"__name__": "wsgiproof_probe", "__file__": __file__}}
exec(compile(_PROBE, "probe.py", "exec"), _names)
application = _names["served"](json.loads(_JOB))
"""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A WSGI script, or why there is none."""

    text: str = ""
    exercised: bool = False
    """Whether it does the exercise of the distribution; otherwise it only imports it."""
    why_none: str = ""


def script_for(distribution: Distribution, prober: Prober, account: Account) -> Script:
    """Return the script for a distribution, after a look at the main interpreter.

    Raises as :meth:`Prober.run`.
    """
    kind = InterpreterKind.MAIN
    exercise = exercise_for(distribution.name)
    first = imported_first(distribution.name)
    job = prober.job(kind, distribution.modules, distribution.extensions, exercise, first=first)
    attempt = attempt_of(prober.run(job, account), kind)
    if attempt.lost:
        return Script(why_none=attempt.lost)
    if how := ended_badly(attempt):
        return Script(why_none=f"fails in main too: {how} {attempt.doing}".rstrip())
    failed = {(one.stage, one.module): one.error for one in attempt.failures}
    modules = [name for name in distribution.modules if (Stage.IMPORT, name) not in failed]
    if not attempt.snapshots or not modules:
        why = next(iter(failed.values()), "its metadata names nothing that can be imported")
        return Script(why_none=f"fails in main too: {why}" if failed else why)
    used = exercise if (Stage.EXERCISE, "") not in failed else ""
    served = {
        "modules": [*first, *modules],
        "extensions": [
            name for name in distribution.extensions if (Stage.EXTENSION, name) not in failed
        ],
        "exercise": used,
        "value": attempt.values.get("0") if used else None,
        "main": _had(attempt),
    }
    text = _SCRIPT.format(source=PROBE.read_text(), job=json.dumps(served))
    return Script(text=text, exercised=bool(used))


def _had(attempt: Attempt) -> Mapping[str, Any]:
    """What the main interpreter had."""
    snapshot = attempt.snapshots[0]
    return {
        "modules": snapshot.modules,
        "flags": snapshot.flags,
        "things": snapshot.things,
    }
