"""Applications that mean harm, or do it: each file of ``apps`` says what it does, and what is right
then."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Any

from tests.torture.sandbox import Fault, Sandbox, options

WEIGHT = 12
APPS = Path(__file__).parents[1] / "apps"
VARIANTS = sorted(path.stem for path in APPS.glob("*.py"))


def missing() -> str:
    """An application can always be run."""
    return ""


def expected(app: str) -> dict[str, Any]:
    """What an application says of itself: EXPECT (verdicts), and the options that it needs."""
    told: dict[str, Any] = {}
    for node in ast.parse((APPS / f"{app}.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("EXPECT", "TOPOLOGY", "MODE", "REQUESTS"):
                told[name] = ast.literal_eval(node.value)
    return told


def draw(variant: str, rng: random.Random) -> dict[str, Any]:
    """Which application, in which mode."""
    told = expected(variant)
    return {
        "app": variant,
        "mode": told.get("MODE") or rng.choice(["daemon", "daemon", "embedded"]),
        "topology": told.get("TOPOLOGY", "none"),
        "requests": told.get("REQUESTS", 60),
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Run it, look at its verdict and at all that it could have hurt."""
    app = APPS / f"{details['app']}.py"
    right = set(expected(details["app"])["EXPECT"])
    cell = options(details["topology"], details["mode"], details["requests"])
    if "--control" in cell:
        place = cell.index("--control")
        del cell[place : place + 2]
    ended = box.finish(box.start_run(cell, "--app", str(app)))
    fault = Fault(f"the application {app.stem}", may=right)
    box.check_end(ended, fault)
    box.settle()
    box.check_verdicts(fault, {})
    box.check_terminal(ended)
    shown = box.quick("show", str(box.output), codes=(0, 1, 3))
    box.check_terminal(shown)
    box.quick("show", "--rejudge", str(box.output), codes=(0, 1, 3))
