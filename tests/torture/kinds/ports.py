"""Taken ports: few are left, none, or they are stolen between choice and bind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.torture.processes import own_network
from tests.torture.sandbox import Fault, Sandbox, options

WEIGHT = 4
VARIANTS = [
    (topology, width, held)
    for topology in ("none", "standalone")
    for width, held in (
        (40, "none"),  # a narrow range, which the connections of the load client share
        (400, "none"),
        (400, "half"),
        (400, "come and go"),
        (40, "all"),
        (2000, "come and go"),
    )
]
_THIEF = Path(__file__).parents[1] / "thief.py"


def missing() -> str:
    """It needs its own network namespace, so that no other ports are taken."""
    return "" if os.geteuid() == 0 else "only root can make a network namespace"


def draw(variant: tuple[str, int, str], rng: random.Random) -> dict[str, Any]:
    """Choose the width of the range of local ports, and how many of them a thief holds."""
    topology, width, held = variant
    return {
        "topology": topology,
        "first": rng.randrange(20000, 60000),
        "width": width,
        "held": held,
        "seed": rng.randrange(1 << 30),
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Run with few ports and check; release them, and resume."""
    own_network()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    first, width = details["first"], details["width"]
    setting = Path("/proc/sys/net/ipv4/ip_local_port_range")
    usual = setting.read_text()
    setting.write_text(f"{first} {first + width}")
    thief = None
    if details["held"] != "none":
        thief = subprocess.Popen(
            [
                sys.executable,
                str(_THIEF),
                str(first),
                str(width),
                details["held"],
                str(details["seed"]),
            ],
            stdout=subprocess.PIPE,
        )
        box.helpers.add(thief.pid)
        assert thief.stdout is not None
        thief.stdout.readline()
    cell = options(details["topology"])
    fault = Fault(f"{width} local ports, {details['held']} held", codes=(3,))
    ended = box.finish(box.start_run(cell))
    if thief is not None:
        thief.kill()
        thief.wait()
    setting.write_text(usual)
    if (box.output / "results.json").is_file():
        box.check_end(ended, fault)
    else:
        box.check_code(ended, (3,))
    box.settle()
    box.check_verdicts(fault, {})
    box.check_show()
    box.check_resume(cell)
