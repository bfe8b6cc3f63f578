"""Other users of the machine, who attack locks, ports and directories during a run."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.torture.kinds.caches import copied
from tests.torture.sandbox import MEASURING, Fault, Sandbox, options
from tests.torture.striking import wait_for

WEIGHT = 5
_PROGRAM = Path(__file__).parents[1] / "stranger.py"
VARIANTS = [
    (deed, user)
    for deed, user in (
        ("lock the cache", "nobody"),
        ("lock the output", "nobody"),
        ("lock the cache", "www-data"),
        ("shut mongod down", "nobody"),
        ("write to mongod", "nobody"),
        ("drop databases", "nobody"),
        ("hold connections to mongod", "nobody"),
        ("occupy the server", "nobody"),
        ("ask for memory", "nobody"),
        ("send garbage", "nobody"),
        ("hold a connection", "nobody"),
        ("plant in TMPDIR", "nobody"),
        ("plant in TMPDIR", "www-data"),
        ("plant in the run directory", "www-data"),
        ("read the environment", "nobody"),
        ("read the environment", "www-data"),
        ("read the scratch directories", "nobody"),
        ("signal all_processes", "nobody"),
        ("signal all_processes", "www-data"),
    )
]


def missing() -> str:
    """Only root can start processes of other users."""
    return "" if os.geteuid() == 0 else "only root can start a process of another user"


def draw(variant: tuple[str, str], rng: random.Random) -> dict[str, Any]:
    """Choose the attack, the user, and the phase."""
    deed, user = variant
    deployment = "mongod" in deed or deed in ("drop databases", "occupy the server")
    moment = rng.choice(["starting Apache", "warm-up", "parallel"])
    return {
        "deed": deed,
        "user": user,
        "topology": "standalone" if deployment else "none",
        "requests": rng.choice([60, 600]),
        "moment": {"phase": moment, "delay": round(rng.uniform(0.0, 0.2), 3)},
        "seed": rng.randrange(1 << 30),
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Run next to such a user and check; then resume alone."""
    deed, user = details["deed"], details["user"]
    copied(box)
    cell = options(details["topology"], requests=details["requests"])
    if deed in ("plant in TMPDIR", "read the scratch directories"):
        box.tmp.chmod(0o1777)
    early = deed in ("lock the cache", "plant in TMPDIR")
    stranger = _start_other(box, deed, user, details["seed"]) if early else None
    run = box.start_run(cell, changes={"SECRET_TOKEN": "the secret of the victim"})
    phase = ""
    if not early and wait_for(details["moment"], run, box):
        phase = run.phase
        stranger = _start_other(box, deed, user, details["seed"], run.process.pid)
    ended = box.finish(run)
    if stranger is None:
        box.outcome.missed = True
        box.settle()
        return
    printed = _terminate(stranger)
    box.note(f"{user} printed: {printed[:400]}")
    killed = deed == "signal all_processes" and user == "www-data"
    may = {"pass", "error", "inconclusive"} | ({"fail"} if killed else set())
    if "shut down" in printed and phase in MEASURING:
        may -= {"pass"}
    fault = Fault(f"{user}: {deed}", may=may)
    for line in printed.splitlines():
        if line.startswith("HARM"):
            box.report("harm", f"{user} could: {line[5:]}")
    if box.output.exists():
        box.check_end(ended, fault)
    else:
        box.check_code(ended, (2, 3))
    box.settle(directories="TMPDIR" not in deed)
    box.check_verdicts(fault, {})
    box.check_show()
    box.check_resume(cell)


def _start_other(
    box: Sandbox, deed: str, user: str, seed: int, main: int = 0
) -> subprocess.Popen[str]:
    """Start the process of the other user. It knows what every user of the machine can find out."""
    # Every user can see listening ports (/proc/net/tcp); only the run's own servers may be
    # attacked.
    confs = sorted(box.output.glob("cells/*/httpd.conf"))
    ports = [re.search(r"^Listen .*:(\d+)$", one.read_text(), re.MULTILINE) for one in confs]
    (box.root / "ports").write_text(" ".join(port[1] for port in ports if port))
    # The program has to be where every user can read it.
    program = box.root / "stranger.py"
    program.write_bytes(_PROGRAM.read_bytes())
    program.chmod(0o755)
    where = [str(box.tmp), str(box.output), str(box.cache), str(box.victim)]
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    process = subprocess.Popen(
        [python, "-I", str(program), deed, str(seed), str(main), str(os.getpid()), *where],
        user=user,
        group="nogroup" if user == "nobody" else user,
        extra_groups=[],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
    )
    box.helpers.add(process.pid)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _terminate(process: subprocess.Popen[str]) -> str:
    process.terminate()
    try:
        printed, _ = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
    return printed
