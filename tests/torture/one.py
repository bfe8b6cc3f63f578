"""Carry out one injection in its own process: ``python -m tests.torture.one ORDER RESULT``.

The process is a child subreaper: every process that the injection leaves behind becomes its child,
even if that has changed its session, its parent and its environment. As root it gets its own mount
namespace, so that the mounts of an injection end with it.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

import msgspec

from tests.torture.kinds import KINDS
from tests.torture.outcome import Injection, Outcome, Setup
from tests.torture.processes import become_subreaper, own_mounts
from tests.torture.sandbox import Sandbox


class Order(msgspec.Struct):
    """What to inject, and where."""

    setup: Setup
    injection: Injection
    keep: bool = False
    """Keep the sandbox, for a person to look at."""


def carry_out(order: Order) -> Outcome:
    """Inject a fault and return the outcome."""
    began = time.monotonic()
    outcome = Outcome(order.injection)
    box = None
    try:
        become_subreaper()
        if os.geteuid() == 0:
            own_mounts()
        box = Sandbox(order.setup, outcome)
        KINDS[order.injection.kind].inject(box, order.injection.details)
        box.check_victim()
    except Exception:
        outcome.broken = traceback.format_exc()
    finally:
        if box is not None:
            box.clear()
            _unmount(box.root)
            if not order.keep:
                shutil.rmtree(box.root, ignore_errors=True)
    outcome.seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    outcome.cpu = used.ru_utime + used.ru_stime
    return outcome


def _unmount(root: Path) -> None:
    """Unmount everything below the sandbox, the innermost first."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if Path(mount).is_relative_to(root):
            subprocess.run(["umount", "-l", mount], check=False)


def main() -> None:
    """Read the order, carry it out, and write the outcome."""
    order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    result = Path(sys.argv[2])
    draft = result.with_suffix(".part")
    draft.write_bytes(msgspec.json.encode(carry_out(order)))
    draft.replace(result)


if __name__ == "__main__":
    main()
