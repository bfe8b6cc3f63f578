"""Signals during a build: the cache lacks the environment, or mod_wsgi."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.torture.kinds.caches import copied
from tests.torture.sandbox import Fault, Sandbox, options
from tests.torture.striking import strike

WEIGHT = 3
VARIANTS = [
    (part, target, name)
    for part, targets in (
        ("environment", ("wsgiproof", "guard", "uv")),
        ("mod_wsgi", ("wsgiproof", "guard", "compiler", "uv")),
    )
    for target in targets
    for name in ("INT", "TERM", "KILL", "STOP")
]


def missing() -> str:
    """Signals can always be sent."""
    return ""


def draw(variant: tuple[str, str, str], rng: random.Random) -> dict[str, Any]:
    """Choose what is built, which process gets the signal, and when."""
    part, target, name = variant
    return {
        "part": part,
        "target": target,
        "signal": name,
        "delay": round(rng.uniform(0.0, 1.5 if part == "environment" else 4.0), 3),
        "pick": round(rng.random(), 3),
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Build, send the signal, check, resume: an incomplete build has to be repeated."""
    copied(box, besides=details["part"])
    cell = options()
    run = box.start_run(cell)
    fault = None
    if run.wait_for("building mod_wsgi") and box.wait_for_role("uv", run):
        time.sleep(details["delay"])
        fault = strike(box, run, details["target"], details["signal"], details["pick"])
    ended = box.finish(run)
    if fault is None:
        box.outcome.missed = True
        box.settle()
        return
    fault = Fault(fault.text, may=("pass", "error", "inconclusive"), codes=fault.codes)
    box.check_end(ended, fault)
    box.settle()
    box.check_verdicts(fault, {})
    box.check_show()
    box.check_resume(cell)
