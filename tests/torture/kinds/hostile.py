"""Harmful applications: each file in ``apps`` says what it does, and which verdicts are right."""

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
    """Return what an application declares: EXPECT (verdicts), and the options that it needs."""
    declared: dict[str, Any] = {}
    for node in ast.parse((APPS / f"{app}.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("EXPECT", "TOPOLOGY", "MODE", "REQUESTS"):
                declared[name] = ast.literal_eval(node.value)
    return declared


def draw(variant: str, rng: random.Random) -> dict[str, Any]:
    """Choose the application and its mode."""
    declared = expected(variant)
    return {
        "app": variant,
        "mode": declared.get("MODE") or rng.choice(["daemon", "daemon", "embedded"]),
        "topology": declared.get("TOPOLOGY", "none"),
        "requests": declared.get("REQUESTS", 60),
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Run it, and check its verdict and everything that it could have damaged."""
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
