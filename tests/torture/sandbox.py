"""A place of its own for one injection: its directories and its processes, and what is held
against the command afterwards."""

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

from tests.torture.outcome import Accusation, Column, Outcome, Setup
from tests.torture.processes import Process, descendants, marked, role, signal_it

DEADLINE = 180.0
"""Seconds until a run counts as one that hangs: the deadlines of a cell (a start of 30 s, a request
that hangs, stacks, a stop) fit in several times."""
QUICK = 45.0
"""The same for a command that only reads."""
USUAL = 10.0
"""Seconds that the smallest run may take before the deadlines become longer."""
MOST = 3.0
"""The most that they become longer by."""
_READER_MEMORY = 3 << 30
"""Bytes of address space that such a command has: one that reads /dev/zero must not take all."""
SETTLE = 12.0
"""Seconds that guards may take to end what is left; they need three."""

MARK = "WSGIPROOF_TORTURE"
SMALL = ("--mod-wsgi", "5.0.2", "--pymongo", "4.20.0", "--no-config", "--phases", "none")
"""With it the options of the smallest cell. An n of 60 is the least that comes to ``pass``."""
MEASURING = ("parallel", "serial", "idle")
"""The phases in which a fault takes evidence away."""
_TRACE = "Traceback (most recent call last):"
_ENDED = frozenset({"pass", "fail", "inconclusive"})


def options(topology: str = "none", mode: str = "daemon", requests: int = 60) -> list[str]:
    """The options of a small cell. With a deployment it closes its client, since one that is left
    open is a crash at the stop now and then (docs/findings.md, 1)."""
    load = ["-n", str(requests), "-c", "10", "--extra-requests", "0"]
    control = [] if topology == "none" else ["--control", "own-interpreters"]
    modes = [part for one in mode.split("+") for part in ("--mode", one)]
    return [*SMALL, "--topology", topology, *modes, *load, *control]


class Ended:
    """A command that has ended, or was ended since it hung."""

    def __init__(self, code: int, out: str, err: str, hung: bool) -> None:
        self.code = code
        self.out = out
        self.err = err
        self.hung = hung


class Run:
    """A command that runs."""

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
        """What it printed so far."""
        return "".join(self._lines["out"])

    @property
    def err(self) -> str:
        """What it said on stderr so far."""
        return "".join(self._lines["err"])

    @property
    def phase(self) -> str:
        """The last step or phase that it named; empty before the first, or after its verdict."""
        lines = [line.strip() for line in self._lines["out"]]
        steps = [line for line in lines if " s " in line[:12]]
        return steps[-1].partition(" s ")[2] if steps else ""

    def wait_for(self, words: str, deadline: float = 60.0) -> bool:
        """Wait until it has printed these words; False if it ended before, or the time did."""
        limit = time.monotonic() + deadline
        while words not in self.out:
            if self.process.poll() is not None or time.monotonic() > limit:
                return words in self.out
            time.sleep(0.01)
        return True

    def wait_until(self, seconds: float) -> bool:
        """Wait until it has run for so long; False if it ended before."""
        left = self.began + seconds - time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, left))
            return False
        return True

    def join(self) -> None:
        """Have read all that it said; an orphan may hold its pipes open, so not for ever."""
        for thread in self._threads:
            thread.join(2.0)


class Fault:
    """What was done, and which verdicts the cells that it hit may come to."""

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
        """Exit codes that are right besides that of the verdicts."""


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
        """What is to be done when all processes are gone."""
        self.runtime = self.root / "run"
        for directory in (self.root, self.tmp, self.cwd, self.victim, self.runtime):
            directory.mkdir()
        # Apache's user has to reach the scratch directory, and no more than that.
        self.root.chmod(0o711)
        self.tmp.chmod(0o711)
        self.victim.chmod(0o700)
        self.runtime.chmod(0o700)
        (self.victim / "secret").write_text("the secret of the victim\n")
        (self.victim / "secret").chmod(0o600)
        self.before_victim = self._victim_now()

    # --- running -----------------------------------------------------------------------

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """That of a command; a change to None takes a variable away."""
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
            preexec_fn=prepare,  # a thread of ours only reads pipes, so this is safe
            start_new_session=True,
            **where,
        )
        return Run(process, arguments)

    def start_run(self, cell: Iterable[str], *more: str, **how: Any) -> Run:
        """Start a ``wsgiproof run`` into our output directory."""
        return self.start("run", *cell, *more, "--output", str(self.output), **how)

    def finish(self, run: Run, deadline: float = DEADLINE) -> Ended:
        """Wait for its end, and hold against it a hang or a traceback.

        On a machine where everything takes longer the deadline is later.
        """
        hung = False
        deadline *= min(max(1.0, self.setup.normal / USUAL), MOST)
        try:
            code = run.process.wait(max(1.0, run.began + deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            hung = True
            self.accuse("hangs", f"still there after {deadline:g} s: {self._told(run)}")
            for process in self.at_work():
                signal_it(process, signal.SIGKILL)
            code = run.process.wait()
        run.join()
        ended = Ended(code, run.out, run.err, hung)
        self.note(
            f"wsgiproof {' '.join(run.arguments)[:300]}: exit code {code} after "
            f"{time.monotonic() - run.began:.1f} s"
        )
        self._tell_end(ended)
        if any(line.startswith(_TRACE) for line in ended.err.splitlines() + ended.out.splitlines()):
            self.accuse("tracebacks", _last_line(ended.err))
        if "Fatal Python error" in ended.err:
            self.accuse("tracebacks", "Fatal Python error")
        return ended

    def quick(self, *arguments: str, codes: Collection[int] = (0,)) -> Ended:
        """A command that only reads, from beginning to end."""
        most = (_READER_MEMORY, _READER_MEMORY)
        run = self.start(*arguments, prepare=lambda: resource.setrlimit(resource.RLIMIT_AS, most))
        ended = self.finish(run, QUICK)
        self.check_code(ended, codes, f"wsgiproof {' '.join(arguments)[:80]}")
        return ended

    def check_code(self, ended: Ended, allowed: Collection[int], what: str = "run") -> None:
        """Hold an exit code against it that is none of these; one that hung has none."""
        if not ended.hung and ended.code not in allowed:
            wanted = ", ".join(map(str, sorted(allowed)))
            told = _last_line(ended.err)
            self.accuse("codes", f"{what}: exit code {ended.code}, not {wanted}: {told}")

    # --- what is there -----------------------------------------------------------------

    def at_work(self) -> list[Process]:
        """All that the command has started and that still runs, itself included."""
        below = {one.pid: one for one in descendants(os.getpid())}
        below |= {one.pid: one for one in marked(self.marker) if one.pid != os.getpid()}
        return [one for one in below.values() if one.pid not in self.helpers]

    def of_role(self, wanted: str, run: Run) -> list[Process]:
        """The processes of a run that have this role."""
        main = run.process.pid
        return [one for one in descendants(os.getpid()) if role(one, main) == wanted]

    def wait_for_role(self, wanted: str, run: Run, deadline: float = 40.0) -> list[Process]:
        """The same, once there is one; none if the run ended before."""
        limit = time.monotonic() + deadline
        while not (found := self.of_role(wanted, run)):
            if run.process.poll() is not None or time.monotonic() > limit:
                return []
            time.sleep(0.01)
        return found

    def verdicts(self) -> dict[str, str]:
        """What each cell with a whole record came to, by its directory's name."""
        found = {}
        for path in sorted(self.output.glob("cells/*/cell.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                if path.is_file() and not path.is_symlink():
                    found[path.parent.name] = str(json.loads(path.read_bytes())["verdict"])
        return found

    def complete(self) -> bool:
        """Whether the run says of itself that all its cells are done."""
        try:
            return bool(json.loads((self.output / "results.json").read_bytes())["complete"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    # --- what is held against it -------------------------------------------------------

    def settle(self, *, directories: bool = True, orphans: bool = True) -> None:
        """Wait for what is left to end; hold against the command what does not, and end that.

        Without ``orphans``, or ``directories``, that is for the next start to clear up.
        """
        limit = time.monotonic() + SETTLE
        while (left := self.at_work()) and time.monotonic() < limit:
            time.sleep(0.05)
        if left and not orphans:
            self.note(f"{len(left)} processes are left to the next start")
        elif left:
            told = "; ".join(f"{one.name} ({one.command[:60]})" for one in left[:4])
            self.accuse("orphans", f"{len(left)} left: {told}")
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
        """Hold against the command what is left in its TMPDIR or in its working directory. What
        belongs to another user is what that one has planted there."""
        for directory in (self.tmp, self.cwd):
            try:
                found = [
                    path for path in directory.iterdir() if path.lstat().st_uid == os.geteuid()
                ]
            except OSError:
                continue
            names = sorted({path.name for path in found} - {*besides})
            if names:
                self.accuse("directories", f"in {directory.name}: {', '.join(names[:4])}")
                for name in names:
                    _remove(directory / name)

    def check_verdicts(self, fault: Fault, before: Mapping[str, str]) -> None:
        """Hold against the command a verdict that the fault does not leave room for, and a record
        that was there before the fault and is not any more."""
        now = self.verdicts()
        for cell, verdict in before.items():
            if verdict in _ENDED and now.get(cell) != verdict:
                self.accuse("lost", f"{cell} was {verdict} and is {now.get(cell, 'gone')}")
        for cell in now:
            if "a defect of wsgiproof" in self.reason(cell):
                self.accuse("tracebacks", f"in a record: {self.reason(cell)}")
        for cell, verdict in now.items():
            if cell in before or verdict in fault.may or verdict == "skipped":
                continue
            self.accuse(
                "blamed" if verdict == "fail" else "passed",
                f"{verdict} ({self.reason(cell)}) after: {fault.text}",
            )

    def reason(self, cell: str) -> str:
        """Why a cell came to its verdict."""
        with suppress(OSError, ValueError, KeyError):
            record = json.loads((self.output / "cells" / cell / "cell.json").read_bytes())
            return str(record["reason"])[:200]
        return "no reason"

    def check_end(self, ended: Ended, fault: Fault) -> None:
        """Hold against a run an exit code that is not that of its verdicts, nor of the fault."""
        if ended.hung:
            return
        allowed = set(fault.codes)
        allowed.add(code_of(self.verdicts().values()) if self.complete() else 3)
        self.check_code(ended, allowed)
        if ended.code == 3 and not self.complete() and "wsgiproof:" not in ended.err:
            self.accuse("codes", f"exit code 3 without a word: {_last_line(ended.err)}")

    def check_show(self) -> None:
        """Hold against the command that a run can't be shown whose results are there."""
        if not (self.output / "results.json").is_file():
            return
        now = self.verdicts()
        ended = self.quick("show", str(self.output), codes=(0, 1, 3))
        for cell in now:
            if not ended.hung and cell not in ended.out.replace("\n", ""):
                self.accuse("lost", f"show does not tell of {cell}, which has a record")

    def check_resume(
        self, cell: Iterable[str], *more: str, may: Collection[str] = ("pass",)
    ) -> None:
        """Run the rest, without a fault: all that had ended is kept, and all come to what is
        right."""
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
                self.accuse("lost", f"resume did not keep {key}")
        after = self.verdicts()
        wrong = {k: v for k, v in after.items() if k not in before and v not in may}
        for key, verdict in wrong.items():
            self.accuse("resumes", f"{verdict} ({self.reason(key)}) without a fault")
        if not self.complete():
            self.accuse("resumes", f"not complete, exit code {ended.code}: {_last_line(ended.err)}")
        elif ended.code != code_of(after.values()):
            self.accuse("codes", f"resume: exit code {ended.code}, not {code_of(after.values())}")
        self.settle()

    def check_victim(self) -> None:
        """Hold against the command that something outside of it was changed, or shown."""
        if self._victim_now() != self.before_victim:
            self.accuse("harm", "the victim's directory was changed")
        for path in self.output.rglob("*"):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > 50 << 20:
                continue
            if b"the secret of the victim" in path.read_bytes():
                self.accuse("harm", f"the victim's secret is in {path.name}")

    def check_terminal(self, ended: Ended) -> None:
        """Hold against the command what would steer a terminal or a CI system."""
        for line in (ended.out + ended.err).splitlines():
            if any((ord(char) < 32 and char not in "\t") or char == "\x9b" for char in line):
                self.accuse("harm", f"control characters are shown: {line[:80]!r}")
                return
            if line.lstrip().startswith(("##vso[", "::error", "::set-output", "##[")):
                self.accuse("harm", f"a command for a CI system is shown: {line[:80]!r}")
                return

    def clear(self) -> None:
        """End all that is left, helpers too."""
        self.helpers.clear()
        self._end(self.at_work())
        for cleanup in self.cleanups:
            cleanup()

    def accuse(self, column: Column, text: str) -> None:
        """Hold something against the command."""
        self.outcome.accusations.append(Accusation(column, _told(text[:400])))

    def note(self, text: str) -> None:
        """Keep what a person may want to know."""
        self.outcome.notes.append(_told(text[:600]))

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

    def _told(self, run: Run) -> str:
        lines = (run.out + run.err).strip().splitlines()
        return lines[-1].strip()[:200] if lines else "it has said nothing"

    def _tell_end(self, ended: Ended) -> None:
        for line in [*ended.out.strip().splitlines()[-3:], *ended.err.strip().splitlines()[-4:]]:
            self.note(f"    {line[:200]}")


def code_of(verdicts: Iterable[str]) -> int:
    """The exit code of a run that is complete."""
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


def _told(text: str) -> str:
    """Fit for JSON: a path may not be UTF-8."""
    return text.encode(errors="backslashreplace").decode()
