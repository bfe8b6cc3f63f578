"""Two faults, one soon after the other."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

from tests.torture.processes import role, signal_it
from tests.torture.sandbox import Fault, Sandbox, options
from tests.torture.striking import draw_moment, strike, wait_for

WEIGHT = 8
VARIANTS = [
    ("none", ("guard", "KILL"), ("wsgiproof", "KILL")),
    ("none", ("wsgiproof", "KILL"), ("guard", "KILL")),
    ("none", ("wsgiproof", "INT"), ("wsgiproof", "INT")),
    ("none", ("wsgiproof", "TERM"), ("wsgiproof", "INT")),
    ("none", ("wsgiproof", "INT"), ("wsgiproof", "KILL")),
    ("none", ("wsgiproof", "TERM"), ("guard", "KILL")),
    ("none", ("parent", "KILL"), ("guard", "KILL")),
    ("none", ("parent", "STOP"), ("wsgiproof", "KILL")),
    ("none", ("daemon", "STOP"), ("wsgiproof", "INT")),
    ("none", ("guard", "STOP"), ("wsgiproof", "INT")),
    ("none", ("guard", "STOP"), ("wsgiproof", "KILL")),
    ("none", ("parent", "KILL"), ("wsgiproof", "KILL")),
    ("none", ("daemon", "KILL"), ("parent", "KILL")),
    ("standalone", ("mongod", "KILL"), ("wsgiproof", "INT")),
    ("standalone", ("mongod", "KILL"), ("guard", "KILL")),
    ("standalone", ("guard", "KILL"), ("guard", "KILL")),
    ("standalone", ("mongod", "KILL"), ("daemon", "KILL")),
    ("standalone", ("guard", "KILL"), ("wsgiproof", "TERM")),
    ("replica-set", ("mongod", "KILL"), ("mongod", "KILL")),
    ("replica-set", ("mongod", "KILL"), ("wsgiproof", "KILL")),
]


def missing() -> str:
    """Signals can always be sent."""
    return ""


def draw(
    variant: tuple[str, tuple[str, str], tuple[str, str]], rng: random.Random
) -> dict[str, Any]:
    """Choose the processes, the moment, and the time between the two signals."""
    topology, first, second = variant
    return {
        "first": first,
        "second": second,
        "gap": round(rng.choice([0.0, rng.uniform(0.0, 1.0)]), 3),
        "topology": topology,
        "moment": draw_moment(rng, ("warm-up", "parallel", "serial", "idle")),
        "picks": [round(rng.random(), 3), round(rng.random(), 3)],
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Run, send both signals, check, resume."""
    cell = options(details["topology"])
    run = box.start_run(cell, "--jobs", "1")
    faults: list[Fault] = []
    if wait_for(details["moment"], run, box, 1.0 if details["topology"] == "none" else 1.7):
        for one, pick in zip(("first", "second"), details["picks"], strict=True):
            target, name = details[one]
            if fault := strike(box, run, target, name, pick):
                faults.append(fault)
            time.sleep(details["gap"])
    ended = box.finish(run)
    if not faults:
        box.outcome.missed = True
        box.settle()
        return
    server = all(details[one][0] in ("daemon", "parent") for one in ("first", "second"))
    both = Fault(
        " and ".join(fault.text for fault in faults),
        may=_may(faults, server),
        codes={code for fault in faults for code in fault.codes},
    )
    box.check_end(ended, both)
    killed = {details[one][0] for one in ("first", "second") if details[one][1] in ("KILL", "QUIT")}
    if "wsgiproof" in killed:
        # A paused guard can't clean up; it does once it is resumed.
        for process in box.at_work():
            if process.state == "T" and role(process, run.process.pid) == "guard":
                signal_it(process, signal.SIGCONT)
    # If neither of the two that clean up is left, the next start does it.
    nobody = {"guard", "wsgiproof"} <= killed
    box.settle(directories="wsgiproof" not in killed, orphans=not nobody)
    box.check_verdicts(both, {})
    box.check_show()
    box.check_resume(cell, "--jobs", "1")


def _may(faults: list[Fault], server: bool) -> set[str]:
    """Return the verdicts that both faults allow; also ``fail`` if both were injected into the
    server."""
    allowed = set(faults[0].may)
    for fault in faults[1:]:
        allowed &= fault.may
    if server:
        allowed |= {"fail"}
    return allowed | {"error", "inconclusive"}
