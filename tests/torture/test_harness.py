"""The harness reports exactly the violations of commands that misbehave on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.torture.outcome import Injection, Outcome, Setup
from tests.torture.processes import become_subreaper
from tests.torture.sandbox import Fault, Sandbox

ROOT = Path(__file__).parents[2]

_DAEMON = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execve("/bin/sleep", ["(wsgi:sleep", "300"], {})
    os._exit(0)
os.wait()
"""
_RECORD = """
import json, pathlib, sys
output = pathlib.Path(sys.argv[-1])
cell = output / "cells" / "one"
cell.mkdir(parents=True, exist_ok=True)
(cell / "cell.json").write_text(json.dumps({"verdict": VERDICT, "reason": "why"}))
(output / "results.json").write_text(json.dumps({"complete": True}))
print("one")
sys.exit({"pass": 0, "fail": 1}.get(VERDICT, 3))
"""
COMMANDS = {
    "nothing": ("", []),
    "orphans": (_DAEMON, ["orphans"]),
    "directories": ("import tempfile; tempfile.mkdtemp()", ["directories"]),
    "litter": ("open('core', 'w').close()", ["directories"]),
    "hangs": ("import time; time.sleep(300)", ["hangs"]),
    "tracebacks": ("raise LookupError('x')", ["codes", "tracebacks"]),
    "codes": ("raise SystemExit(70)", ["codes"]),
    "blamed": (f"VERDICT = 'fail'\n{_RECORD}", ["blamed"]),
    "passed": (f"VERDICT = 'pass'\n{_RECORD}", ["passed"]),
    "error": (f"VERDICT = 'error'\n{_RECORD}", []),
    "resumes": (f"VERDICT = 'inconclusive'\n{_RECORD}", ["resumes"]),
    "lost": (
        f"VERDICT = 'pass'\n{_RECORD}".replace(
            "sys.exit", "(cell / 'cell.json').unlink(); sys.exit"
        ),
        ["codes", "lost"],
    ),
    "harm": (f"print('\\x1b[2J')\nVERDICT = 'error'\n{_RECORD}", ["harm"]),
    "victim": (
        "import pathlib\npathlib.Path('../victim/secret').chmod(0o644)\n"
        f"VERDICT = 'error'\n{_RECORD}",
        ["harm"],
    ),
}
"""Programs in the place of wsgiproof, and their violations."""


@contextmanager
def _sandbox() -> Iterator[Sandbox]:
    with tempfile.TemporaryDirectory(dir="/tmp") as work:
        setup = Setup(seed=0, work=work, cache="/nowhere", base="/nowhere", normal=1.0)
        box = Sandbox(setup, Outcome(Injection(1, "none", {})))
        yield box


def _put(program: str, box: Sandbox) -> None:
    """Write a module to the working directory, which comes before the installed one; it removes
    itself."""
    (box.cwd / "wsgiproof.py").write_text(f"import os; os.unlink('wsgiproof.py')\n{program}")


def violations(name: str) -> list[str]:
    """Return the violations that the harness reports for a command. Call this in its own
    process."""
    program, _ = COMMANDS[name]
    become_subreaper()
    fault = Fault("a fault", may={"error", "inconclusive"})
    with _sandbox() as box:
        _put(program, box)
        ended = box.finish(box.start_run([]), 3.0)
        if "VERDICT" in program:
            box.check_end(ended, fault)
            box.check_verdicts(fault, {"one": "pass"} if name == "lost" else {})
            box.check_terminal(ended)
        else:
            box.check_code(ended, (0,))
        if name == "resumes":
            (box.output / "cells" / "one" / "cell.json").unlink()
            _put(program, box)
            box.check_resume([str(box.output)])
        box.settle()
        box.check_victim()
        box.clear()
        return sorted({one.column for one in box.outcome.violations})


@pytest.mark.parametrize("name", COMMANDS)
def test_each_violation_is_reported_and_no_other(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.test_harness", name],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # it would be litter
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == COMMANDS[name][1]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(violations(sys.argv[1])))
