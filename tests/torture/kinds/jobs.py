"""Signals to the processes of a run with ``--jobs 2``."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.torture.sandbox import Fault, Sandbox, options
from tests.torture.striking import ANY, strike

WEIGHT = 7
VARIANTS = [
    [("worker", "KILL")],
    [("worker", "TERM")],
    [("worker", "INT")],
    [("worker", "STOP")],
    [("worker", "HUP")],
    [("worker", "QUIT")],
    [("wsgiproof", "INT")],
    [("wsgiproof", "TERM")],
    [("wsgiproof", "KILL")],
    [("wsgiproof", "HUP")],
    [("wsgiproof", "STOP")],
    [("guard", "KILL")],
    [("tracker", "KILL")],
    [("daemon", "KILL")],
    [("worker", "KILL"), ("worker", "KILL")],
    [("worker", "KILL"), ("wsgiproof", "INT")],
    [("worker", "STOP"), ("wsgiproof", "INT")],
    [("worker", "KILL"), ("guard", "KILL")],
    [("wsgiproof", "KILL"), ("worker", "KILL")],
    [("wsgiproof", "INT"), ("wsgiproof", "INT")],
]


def missing() -> str:
    """Signals can always be sent."""
    return ""


def draw(variant: list[tuple[str, str]], rng: random.Random) -> dict[str, Any]:
    """Choose the moment, and a process of each role."""
    return {
        "strikes": variant,
        "fraction": round(rng.choice([rng.uniform(0.05, 0.4), rng.uniform(0.3, 1.3)]), 3),
        "picks": [round(rng.random(), 3) for _ in variant],
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Run two cells at a time, send the signals, check, resume."""
    cell = options(mode="daemon+embedded")
    run = box.start_run(cell, "--jobs", "2")
    run.wait_until(details["fraction"] * box.setup.normal * 1.5)
    before = box.verdicts()
    faults = []
    for (target, name), pick in zip(details["strikes"], details["picks"], strict=True):
        if fault := strike(box, run, target, name, pick):
            faults.append(fault)
        time.sleep(0.1)
    ended = box.finish(run)
    if not faults:
        box.outcome.missed = True
        box.settle()
        return
    server = any(target == "daemon" for target, _ in details["strikes"])
    fault = Fault(
        " and ".join(one.text for one in faults),
        may=ANY if server else faults[0].may,
        codes={code for one in faults for code in one.codes},
    )
    box.check_end(ended, fault)
    killed = {target for target, name in details["strikes"] if name == "KILL"}
    # Guards clear up after a wsgiproof that could not; before the first one, the next start does.
    box.settle(directories=not ({"guard", "worker"} <= killed or "wsgiproof" in killed))
    box.check_verdicts(fault, before)
    box.check_show()
    box.check_resume(cell, "--jobs", "1")
