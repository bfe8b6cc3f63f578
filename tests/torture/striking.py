"""Send signals to processes of a run at given moments, and say which results they allow."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.torture.processes import Process, read_process, signal_it
from tests.torture.sandbox import MEASURING, Fault, Run, Sandbox

ANY = ("pass", "fail", "error", "inconclusive")
OURS = ("pass", "error", "inconclusive")
"""A fault of wsgiproof's own processes must never become a finding about the subject."""
_SERVER = ("parent", "frontend", "daemon")
PHASES = (
    "starting Apache",
    "warm-up",
    "parallel",
    "serial",
    "idle",
    "stop",
)
_STOPPED = 3.0
"""Seconds that a process is paused if it has to be resumed."""


def draw_moment(rng: random.Random, phases: Sequence[str] = PHASES) -> dict[str, Any]:
    """Return a moment: shortly after the beginning of a phase, or a fraction of the normal time."""
    if rng.random() < 0.6:
        return {"phase": rng.choice(phases), "delay": round(rng.uniform(0.0, 0.3), 3)}
    return {"fraction": round(rng.uniform(0.02, 1.0), 3)}


def wait_for(moment: Mapping[str, Any], run: Run, box: Sandbox, scale: float = 1.0) -> bool:
    """Wait for a moment; return False if the run ends before."""
    if "phase" in moment:
        if not run.wait_for(f" s {moment['phase']}"):
            return False
        time.sleep(moment["delay"])
    else:
        run.wait_until(moment["fraction"] * box.setup.normal * scale)
    return run.process.poll() is None


def strike(box: Sandbox, run: Run, target: str, name: str, pick: float) -> Fault | None:
    """Send a signal to a process of this role, chosen by ``pick`` (0 to 1). Waits for such a
    process; returns None if there is none."""
    found = box.wait_for_role(target, run)
    if not found:
        return None
    victim = found[int(pick * len(found))]
    before = run.phase
    number = getattr(signal, f"SIG{name}")
    if not signal_it(victim, number):
        return None
    text = f"SIG{name} to {target} {victim.pid} in {before or 'the beginning'!r}"
    if name == "STOP" and target in ("wsgiproof", "uv", "compiler", "mongod"):
        time.sleep(_STOPPED)
        signal_it(victim, signal.SIGCONT)
        text += f", and on after {_STOPPED:g} s"
    gone = name != "STOP" and _gone(victim)
    taken = gone and before in MEASURING and run.phase in MEASURING
    box.note(f"{text}; then {run.phase!r}{', it is gone' if gone else ''}")
    return Fault(text, may=_may(target, name, taken), codes=_codes(target, name))


def _gone(victim: Process) -> bool:
    """Whether the signal ends the process within a moment."""
    limit = time.monotonic() + 0.5
    while time.monotonic() < limit:
        now = read_process(victim.pid)
        if now is None or now.born != victim.born or not now.alive:
            return True
        time.sleep(0.01)
    return False


def _may(target: str, name: str, taken: bool) -> tuple[str, ...]:
    """Return the allowed verdicts.

    For a process of the server, a signal can't be distinguished from damage that the subject does
    itself.
    """
    allowed = ANY if target in _SERVER else OURS
    lethal = target in ("mongod", "guard") or (target == "daemon" and name in ("KILL", "QUIT"))
    if taken and lethal:
        return tuple(one for one in allowed if one != "pass")
    return allowed


def _codes(target: str, name: str) -> tuple[int, ...]:
    """Return the exit codes that a signal to wsgiproof itself allows."""
    if target != "wsgiproof" or name == "STOP":
        return ()
    return (130,) if name in ("INT", "TERM", "HUP") else (130, -getattr(signal, f"SIG{name}"))
