"""One signal to one process of a run, in any phase."""

from __future__ import annotations

import random
from typing import Any

from tests.torture.sandbox import Sandbox, options
from tests.torture.striking import PHASES, draw_moment, strike, wait_for

WEIGHT = 17
_NAMES = ("TERM", "INT", "KILL", "STOP", "HUP", "QUIT")
VARIANTS = [
    (target, name)
    for target in ("wsgiproof", "guard", "parent", "frontend", "daemon", "mongod")
    for name in _NAMES
]


def missing() -> str:
    """Signals can always be sent."""
    return ""


def draw(variant: tuple[str, str], rng: random.Random) -> dict[str, Any]:
    """Choose a cell with such a process, and a moment."""
    target, name = variant
    topology = "none"
    if target == "mongod":
        topology = rng.choice(["standalone", "replica-set"])
    elif target == "guard" and rng.random() < 0.4:
        topology = "standalone"
    phases = PHASES if topology == "none" else ("starting MongoDB", *PHASES)
    mode = "embedded" if target == "frontend" and rng.random() < 0.5 else "daemon"
    if target == "wsgiproof" and rng.random() < 0.3:
        mode = "daemon+embedded"  # the first cell has ended when the second is hit
    return {
        "target": target,
        "signal": name,
        "topology": topology,
        "mode": mode,
        "requests": rng.choice([60, 60, 600]),
        "moment": draw_moment(rng, phases),
        "pick": round(rng.random(), 3),
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Run, send the signal, check, resume."""
    cell = options(details["topology"], details["mode"], details["requests"])
    run = box.start_run(cell, "--jobs", "1")
    both = "+" in details["mode"]
    if both:
        run.wait_for("[2/2]", 120)
    scale = 1.0 if details["topology"] == "none" else 1.7
    before: dict[str, str] = {}
    fault = None
    if both or wait_for(details["moment"], run, box, scale):
        before = box.verdicts()
        fault = strike(box, run, details["target"], details["signal"], details["pick"])
    ended = box.finish(run)
    if fault is None:
        box.outcome.missed = True
        box.settle()
        return
    box.check_end(ended, fault)
    # After a killed wsgiproof its guards clean up; what no guard knows, the next start cleans up.
    at_once = details["target"] != "wsgiproof" or details["signal"] not in ("KILL", "QUIT")
    box.settle(directories=at_once)
    box.check_verdicts(fault, before)
    box.check_show()
    box.check_resume(cell, "--jobs", "1")
