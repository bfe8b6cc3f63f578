"""The sandbox of one injection: its directories and processes, and the checks of the command
afterwards."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tests.torture.outcome import Column, Outcome, Setup, Violation
from tests.torture.processes import Process, descendants, marked, role, signal_it

DEADLINE = 180.0
"""Seconds until a run counts as hanging: several times the deadlines of a cell (a start of 30 s, a
hanging request, stacks, a stop)."""
QUICK = 45.0
"""The same for a command that only reads."""
USUAL = 10.0
"""Seconds that the smallest run may take before the deadlines are extended."""
MOST = 3.0
"""The largest factor by which deadlines are extended."""
_READER_MEMORY = 3 << 30
"""Bytes of address space for such a command, so that one that reads /dev/zero does not use all
memory."""
SETTLE = 12.0
"""Seconds that guards may take to end the remaining processes; they need three."""

MARK = "WSGIPROOF_TORTURE"
SMALL = ("--mod-wsgi", "5.0.2", "--pymongo", "4.20.0", "--no-config", "--phases", "none")
"""Options of the smallest cell. With -n below 60 it can't pass."""
MEASURING = ("parallel", "serial", "idle")
"""The phases in which a fault removes evidence."""
_TRACE = "Traceback (most recent call last):"
_ENDED = frozenset({"pass", "fail", "inconclusive"})


def options(topology: str = "none", mode: str = "daemon", requests: int = 60) -> list[str]:
    """Return the options of a small cell. With a deployment it closes its client, since an open
    client sometimes causes a crash at the stop (docs/findings.md, 1)."""
    load = ["-n", str(requests), "-c", "10", "--extra-requests", "0"]
    control = [] if topology == "none" else ["--control", "own-interpreters"]
    modes = [part for one in mode.split("+") for part in ("--mode", one)]
    return [*SMALL, "--topology", topology, *modes, *load, *control]


class Ended:
    """A command that has ended, or was killed because it hung."""

    def __init__(self, code: int, out: str, err: str, hung: bool) -> None:
        self.code = code
        self.out = out
        self.err = err
        self.hung = hung


class Run:
    """A running command."""

    def __init__(self, process: subprocess.Popen[bytes], arguments: Iterable[str]) -> None:
        self.process = process
        self.arguments = tuple(arguments)
        self.began = time.monotonic()
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        self._threads = [
            threading.Thread(target=self._read, args=(name, pipe), daemon=True)
            for name, pipe in (("out", process.stdout), ("err", process.stderr))
            if pipe is not None
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        with suppress(OSError, ValueError):
            for line in pipe:
                self._lines[name].append(line.decode(errors="replace"))

    @property
    def out(self) -> str:
        """What it has printed on standard output so far."""
        return "".join(self._lines["out"])

    @property
    def err(self) -> str:
        """What it has printed on standard error so far."""
        return "".join(self._lines["err"])

    @property
    def phase(self) -> str:
        """The last step or phase that it printed; empty before the first, and after its verdict."""
        lines = [line.strip() for line in self._lines["out"]]
        steps = [line for line in lines if " s " in line[:12]]
        return steps[-1].partition(" s ")[2] if steps else ""

    def wait_for(self, words: str, deadline: float = 60.0) -> bool:
        """Wait until it has printed these words; return False if it ends before, or at the
        deadline."""
        limit = time.monotonic() + deadline
        while words not in self.out:
            if self.process.poll() is not None or time.monotonic() > limit:
                return words in self.out
            time.sleep(0.01)
        return True

    def wait_until(self, seconds: float) -> bool:
        """Wait until it has run for ``seconds``; return False if it ends before."""
        left = self.began + seconds - time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, left))
            return False
        return True

    def join(self) -> None:
        """Wait until its output is read; with a timeout, since an orphan may keep its pipes
        open."""
        for thread in self._threads:
            thread.join(2.0)


class Fault:
    """An injected fault, and the verdicts that the affected cells may have."""

    def __init__(
        self,
        text: str,
        *,
        may: Collection[str] = ("pass", "error", "inconclusive"),
        codes: Collection[int] = (),
    ) -> None:
        self.text = text
        self.may = frozenset(may)
        self.codes = frozenset(codes)
        """Exit codes that are allowed besides that of the verdicts."""


class Sandbox:
    """The directories, the environment and the processes of one injection."""

    def __init__(self, setup: Setup, outcome: Outcome) -> None:
        self.setup = setup
        self.outcome = outcome
        number = outcome.injection.number
        self.root = Path(setup.work, f"{number}")
        self.marker = f"{MARK}={Path(setup.work).name}/{number}."
        self.tmp = self.root / "t"
        self.cwd = self.root / "w"
        self.output = self.root / "o"
        self.victim = self.root / "victim"
        self.cache = Path(setup.cache)
        self.helpers: set[int] = set()
        """Processes that the injection itself has started."""
        self.cleanups: list[Callable[[], None]] = []
        """What to do when all processes have ended."""
        self.runtime = self.root / "run"
        for directory in (self.root, self.tmp, self.cwd, self.victim, self.runtime):
            directory.mkdir()
        # Apache's user has to reach the scratch directory, but nothing else.
        self.root.chmod(0o711)
        self.tmp.chmod(0o711)
        self.victim.chmod(0o700)
        self.runtime.chmod(0o700)
        (self.victim / "secret").write_text("the secret of the victim\n")
        (self.victim / "secret").chmod(0o600)
        self.before_victim = self._victim_now()

    # --- running -----------------------------------------------------------------------

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the environment of a command; a change to None removes a variable."""
        name, _, value = self.marker.partition("=")
        kept = (
            "PATH",
            "HOME",
            "LANG",
            "PYTHONDONTWRITEBYTECODE",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "HTTPS_PROXY",
            "https_proxy",
            "UV_INDEX_URL",
            "UV_DEFAULT_INDEX",
        )
        environment: dict[str, str | None] = {
            **{key: os.environ[key] for key in kept if key in os.environ},
            **{key: text for key, text in os.environ.items() if key.startswith(("PIP_", "UV_"))},
            "TMPDIR": str(self.tmp),
            "WSGIPROOF_CACHE": str(self.cache),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH"),
            name: value,
            **(changes or {}),
        }
        return {key: text for key, text in environment.items() if text is not None}

    def start(
        self,
        *arguments: str,
        changes: Mapping[str, str | None] | None = None,
        prepare: Callable[[], None] | None = None,
        cwd: Path | None = None,
        **streams: Any,
    ) -> Run:
        """Start ``wsgiproof`` with these arguments; ``prepare`` is called between fork and exec."""
        command = [sys.executable, "-m", "wsgiproof", *arguments]
        where: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **streams,
        }
        process = subprocess.Popen(
            command,
            env=self.environment(changes),
            cwd=cwd or self.cwd,
            preexec_fn=prepare,  # safe, since the other threads only read pipes
            start_new_session=True,
            **where,
        )
        return Run(process, arguments)

    def start_run(self, cell: Iterable[str], *more: str, **how: Any) -> Run:
        """Start a ``wsgiproof run`` with the output directory of the sandbox."""
        return self.start("run", *cell, *more, "--output", str(self.output), **how)

    def finish(self, run: Run, deadline: float = DEADLINE) -> Ended:
        """Wait until a command ends; report a hang or a traceback.

        On a slow machine the deadline is later.
        """
        hung = False
        deadline *= min(max(1.0, self.setup.normal / USUAL), MOST)
        try:
            code = run.process.wait(max(1.0, run.began + deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            hung = True
            self.report("hangs", f"still running after {deadline:g} s: {self._last_output(run)}")
            for process in self.at_work():
                signal_it(process, signal.SIGKILL)
            code = run.process.wait()
        run.join()
        ended = Ended(code, run.out, run.err, hung)
        self.note(
            f"wsgiproof {' '.join(run.arguments)[:300]}: exit code {code} after "
            f"{time.monotonic() - run.began:.1f} s"
        )
        self._note_output(ended)
        if any(line.startswith(_TRACE) for line in ended.err.splitlines() + ended.out.splitlines()):
            self.report("tracebacks", _last_line(ended.err))
        if "Fatal Python error" in ended.err:
            self.report("tracebacks", "Fatal Python error")
        return ended

    def quick(self, *arguments: str, codes: Collection[int] = (0,)) -> Ended:
        """Run a command that only reads, and check its exit code."""
        most = (_READER_MEMORY, _READER_MEMORY)
        run = self.start(*arguments, prepare=lambda: resource.setrlimit(resource.RLIMIT_AS, most))
        ended = self.finish(run, QUICK)
        self.check_code(ended, codes, f"wsgiproof {' '.join(arguments)[:80]}")
        return ended

    def check_code(self, ended: Ended, allowed: Collection[int], what: str = "run") -> None:
        """Report an exit code that is not allowed; a command that hung has none."""
        if not ended.hung and ended.code not in allowed:
            codes = ", ".join(map(str, sorted(allowed)))
            last = _last_line(ended.err)
            self.report("codes", f"{what}: exit code {ended.code}, not {codes}: {last}")

    # --- state -------------------------------------------------------------------------

    def at_work(self) -> list[Process]:
        """Return the running processes of the command, itself included."""
        below = {one.pid: one for one in descendants(os.getpid())}
        below |= {one.pid: one for one in marked(self.marker) if one.pid != os.getpid()}
        return [one for one in below.values() if one.pid not in self.helpers]

    def of_role(self, name: str, run: Run) -> list[Process]:
        """Return the processes of a run that have this role."""
        main = run.process.pid
        return [one for one in descendants(os.getpid()) if role(one, main) == name]

    def wait_for_role(self, name: str, run: Run, deadline: float = 40.0) -> list[Process]:
        """Wait until there is such a process; return none if the run ends before."""
        limit = time.monotonic() + deadline
        while not (found := self.of_role(name, run)):
            if run.process.poll() is not None or time.monotonic() > limit:
                return []
            time.sleep(0.01)
        return found

    def verdicts(self) -> dict[str, str]:
        """Return the verdict of each cell with a complete record, by the name of its directory."""
        found = {}
        for path in sorted(self.output.glob("cells/*/cell.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                if path.is_file() and not path.is_symlink():
                    found[path.parent.name] = str(json.loads(path.read_bytes())["verdict"])
        return found

    def complete(self) -> bool:
        """Whether the record of the run says that it is complete."""
        try:
            return bool(json.loads((self.output / "results.json").read_bytes())["complete"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    # --- checks ------------------------------------------------------------------------

    def settle(self, *, directories: bool = True, orphans: bool = True) -> None:
        """Wait for the remaining processes to end; report and kill those that do not.

        Without ``orphans``, or ``directories``, the next start has to clean those up.
        """
        limit = time.monotonic() + SETTLE
        while (left := self.at_work()) and time.monotonic() < limit:
            time.sleep(0.05)
        if left and not orphans:
            self.note(f"{len(left)} processes are left to the next start")
        elif left:
            names = "; ".join(f"{one.name} ({one.command[:60]})" for one in left[:4])
            self.report("orphans", f"{len(left)} left: {names}")
            self._end(left)
        if directories:
            self.check_directories()

    def _end(self, left: list[Process]) -> None:
        limit = time.monotonic() + 10
        while left and time.monotonic() < limit:
            for process in left:
                signal_it(process, signal.SIGKILL)
            time.sleep(0.05)
            left = self.at_work()

    def check_directories(self, besides: Collection[str] = ()) -> None:
        """Report what is left in the command's TMPDIR or working directory. Files of another user
        do not count, since that user has planted them."""
        for directory in (self.tmp, self.cwd):
            try:
                found = [
                    path for path in directory.iterdir() if path.lstat().st_uid == os.geteuid()
                ]
            except OSError:
                continue
            names = sorted({path.name for path in found} - {*besides})
            if names:
                self.report("directories", f"in {directory.name}: {', '.join(names[:4])}")
                for name in names:
                    _remove(directory / name)

    def check_verdicts(self, fault: Fault, before: Mapping[str, str]) -> None:
        """Report a verdict that the fault does not allow, and a record that existed before the
        fault and is lost."""
        now = self.verdicts()
        for cell, verdict in before.items():
            if verdict in _ENDED and now.get(cell) != verdict:
                self.report("lost", f"{cell} was {verdict} and is {now.get(cell, 'gone')}")
        for cell in now:
            if "a defect of wsgiproof" in self.reason(cell):
                self.report("tracebacks", f"in a record: {self.reason(cell)}")
        for cell, verdict in now.items():
            if cell in before or verdict in fault.may or verdict == "skipped":
                continue
            self.report(
                "blamed" if verdict == "fail" else "passed",
                f"{verdict} ({self.reason(cell)}) after: {fault.text}",
            )

    def reason(self, cell: str) -> str:
        """Return the reason of a cell's verdict."""
        with suppress(OSError, ValueError, KeyError):
            record = json.loads((self.output / "cells" / cell / "cell.json").read_bytes())
            return str(record["reason"])[:200]
        return "no reason"

    def check_end(self, ended: Ended, fault: Fault) -> None:
        """Report an exit code that is neither that of the verdicts nor one of the fault."""
        if ended.hung:
            return
        allowed = set(fault.codes)
        allowed.add(code_of(self.verdicts().values()) if self.complete() else 3)
        self.check_code(ended, allowed)
        if ended.code == 3 and not self.complete() and "wsgiproof:" not in ended.err:
            self.report("codes", f"exit code 3 without a message: {_last_line(ended.err)}")

    def check_show(self) -> None:
        """Report a run that has results but can't be shown."""
        if not (self.output / "results.json").is_file():
            return
        now = self.verdicts()
        ended = self.quick("show", str(self.output), codes=(0, 1, 3))
        # The id of a cell that passed is not printed where a part of it is enough.
        if not ended.hung and now and f" complete: {len(now)} cell" not in ended.out:
            self.report("lost", f"show does not have all {len(now)} cells with a record")

    def check_resume(
        self, cell: Iterable[str], *more: str, may: Collection[str] = ("pass",)
    ) -> None:
        """Resume the run without a fault: finished cells are kept, and all cells get the right
        verdict."""
        before = {key: value for key, value in self.verdicts().items() if value in _ENDED}
        kept = {key: self._record(key) for key in before}
        if not (self.output / "results.json").is_file():
            _remove(self.output)
            run = self.start_run(cell, *more)
        else:
            run = self.start("run", *cell, *more, "--resume", str(self.output))
        ended = self.finish(run)
        if ended.hung:
            return
        for key, record in kept.items():
            if self._record(key) != record:
                self.report("lost", f"resume did not keep {key}")
        after = self.verdicts()
        wrong = {k: v for k, v in after.items() if k not in before and v not in may}
        for key, verdict in wrong.items():
            self.report("resumes", f"{verdict} ({self.reason(key)}) without a fault")
        if not self.complete():
            self.report("resumes", f"not complete, exit code {ended.code}: {_last_line(ended.err)}")
        elif ended.code != code_of(after.values()):
            self.report("codes", f"resume: exit code {ended.code}, not {code_of(after.values())}")
        self.settle()

    def check_victim(self) -> None:
        """Report a change of a file that is not part of the run, or its content in the output."""
        if self._victim_now() != self.before_victim:
            self.report("harm", "the victim's directory was changed")
        for path in self.output.rglob("*"):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > 50 << 20:
                continue
            if b"the secret of the victim" in path.read_bytes():
                self.report("harm", f"the victim's secret is in {path.name}")

    def check_terminal(self, ended: Ended) -> None:
        """Report output that a terminal or a CI system would interpret as a command."""
        for line in (ended.out + ended.err).splitlines():
            if any((ord(char) < 32 and char not in "\t") or char == "\x9b" for char in line):
                self.report("harm", f"control characters are shown: {line[:80]!r}")
                return
            if line.lstrip().startswith(("##vso[", "::error", "::set-output", "##[")):
                self.report("harm", f"a command for a CI system is shown: {line[:80]!r}")
                return

    def clear(self) -> None:
        """Kill all remaining processes, including helpers."""
        self.helpers.clear()
        self._end(self.at_work())
        for cleanup in self.cleanups:
            cleanup()

    def report(self, column: Column, text: str) -> None:
        """Record a violation."""
        self.outcome.violations.append(Violation(column, _encodable(text[:400])))

    def note(self, text: str) -> None:
        """Record what a person may want to know."""
        self.outcome.notes.append(_encodable(text[:600]))

    def _record(self, cell: str) -> bytes:
        with suppress(OSError):
            return (self.output / "cells" / cell / "cell.json").read_bytes()
        return b""

    def _victim_now(self) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for path in (self.victim, *sorted(self.victim.rglob("*"))):
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found.append((str(path), status.st_mode, status.st_uid, status.st_gid, content))
        return found

    def _last_output(self, run: Run) -> str:
        lines = (run.out + run.err).strip().splitlines()
        return lines[-1].strip()[:200] if lines else "it has printed nothing"

    def _note_output(self, ended: Ended) -> None:
        for line in [*ended.out.strip().splitlines()[-3:], *ended.err.strip().splitlines()[-4:]]:
            self.note(f"    {line[:200]}")


def code_of(verdicts: Iterable[str]) -> int:
    """Return the exit code of a complete run."""
    seen = set(verdicts)
    return 1 if "fail" in seen else 0 if seen == {"pass"} else 3


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip()[:300] if lines else "nothing"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _encodable(text: str) -> str:
    """Return a text that JSON can hold, since a path may not be UTF-8."""
    return text.encode(errors="backslashreplace").decode()
