"""One process of an audit: started with limits, watched, and described by what it did.

It runs code that nobody has looked at, so it has as little as the kernel allows: a user of its own
if wsgiproof is root, no network, one small directory in memory to write to, and limits of time,
memory, processes and the size of files. What the kernel does not allow is reported.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from wsgiproof import limits
from wsgiproof.errors import CannotRun, ServiceFailed, one_line
from wsgiproof.files import Directory, open_regular, read_at_most
from wsgiproof.observe.processor_waits import processor_waits
from wsgiproof.process.account import Account
from wsgiproof.process.environ import child_environment
from wsgiproof.process.guarded import Confinement, ProcessEvent
from wsgiproof.process.leftovers import safe_parent, temporary_directory
from wsgiproof.process.service import Service
from wsgiproof.process.signals import check_interrupted
from wsgiproof.records.audit import Attempt, Failure, Snapshot, Stage
from wsgiproof.records.cell import InterpreterKind

PROBE = Path(__file__).with_name("probe.py")

_LARGEST_CLAIMS = 16 << 20
"""Bytes. The claims of a package with 20,000 names take 2 MB for each interpreter."""
_MOST_CLAIMS = 20_000
_LARGEST_FILE = 32 << 20
"""Bytes of any file that a process writes."""
_KEPT_OUTPUT = 2000
"""Bytes at the end of what a process printed."""
_LARGEST_DATA = 4 << 30
"""Bytes of writable memory of one process."""
_LARGEST_MEMORY = 2 << 30
"""Bytes in use by a process and its children; the largest of well-known packages take 0.3."""
_PROCESSES = 128
"""Processes and threads: libraries for numbers start one for each core."""
_LOOK_EVERY = 0.1
"""Seconds."""
_STRAGGLER_GRACE = 0.3
"""Seconds that the children of a process may outlive it before they count as left behind."""
_THREADS_END = 2.0
"""Seconds for the threads of an interpreter to end before it does."""
_NOT_OF_THE_USER = {"PATH": os.defpath, "LANG": "C.UTF-8"}
"""Variables that are the same for every user."""


class _Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a probe has written. It may say anything."""

    claim: str
    interpreter: int = 0
    stage: str = ""
    module: str = ""
    error: str = ""
    deepest: str = ""
    value: str = ""
    gil: bool = True
    memory: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0
    modules: tuple[str, ...] = ()
    standard: tuple[str, ...] = ()
    flags: dict[str, str] = {}
    things: tuple[str, ...] = ()
    nones: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(_Claim).decode  # at import: see cache.Marker


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended, and what it left."""

    seconds: float
    exit: int | None = None
    signal: int | None = None
    hung: bool = False
    over: str = ""
    lost: str = ""
    written: bytes = b""
    output: str = ""
    left: tuple[str, ...] = ()
    not_confined: Mapping[str, str] = {}


class Prober(msgspec.Struct, frozen=True, kw_only=True):
    """Starts the processes of one environment, each as the given account."""

    python: Path
    """The interpreter of the environment."""
    timeout: float
    """Seconds for one process."""

    def job(
        self,
        kind: InterpreterKind,
        modules: Sequence[str],
        extensions: Sequence[str] = (),
        exercise: str = "",
        *,
        first: Sequence[str] = (),
        expected: Sequence[str] = (),
        swapped: bool = False,
        in_turn: int = 0,
    ) -> Mapping[str, Any]:
        """Return the job of a probe: to import the modules that come ``first`` and ``modules``, do
        the exercise, and then import each extension by its own name, in interpreters of this kind:
        in two at the same time, or in ``in_turn`` of them, each of which ends before the next is
        made. ``expected`` are the modules that are loaded in the main interpreter."""
        return {
            "kind": kind,
            "first": first,
            "expected": expected,
            "modules": modules,
            "extensions": extensions,
            "exercise": exercise,
            "swap": swapped,
            "in_turn": in_turn,
            "patience": min(_THREADS_END, self.timeout / 10),
        }

    def run(
        self,
        job: Mapping[str, Any],
        account: Account,
        *,
        inventory: bool = False,
        site: bool = True,
    ) -> Ended:
        """Run the probe with ``job`` until it ends, or has to be ended.

        Without ``site`` it sees the standard library only. Raises :class:`CannotRun` if no scratch
        directory can be made that the account can reach.
        """
        with temporary_directory() as scratch:
            scratch.chmod(0o711)
            uid, gid = account.ids
            with Directory(scratch) as directory:
                for name in ("work", "told"):
                    directory.make(name, owner=uid, group=gid).close()
                directory.write("probe.py", PROBE.read_bytes(), 0o644)
                directory.write("job.json", json.dumps(job).encode(), 0o644)
            argv = [
                str(self.python),
                *("-I", "-B", *([] if site else ["-S"])),
                *(str(scratch / "probe.py"), str(scratch / "job.json")),
                "inventory" if inventory else "probe",
            ]
            service = Service(
                argv,
                name="a probe",
                log=scratch / "log",
                events=scratch / "events",
                env=_environment(scratch / "work"),
                cwd=scratch / "work",
                remove=(scratch,),
                core=0,
                core_directory=scratch / "told",
                user=(account.uid, account.gid) if account.dropped else None,
                confinement=Confinement(scratch / "work", self._limits(account)),
            )
            ended = self._watch(service)
            with Directory(scratch) as directory, directory.below("told") as told:
                return msgspec.structs.replace(
                    ended, written=_written(told), output=_tail(directory)
                )

    def _limits(self, account: Account) -> dict[str, int]:
        # The kernel counts all processes of the user.
        others = 0 if account.name.isdigit() else limits.tasks(account.uid)
        return {
            "processor": int(2 * self.timeout) + 10,
            "data": _LARGEST_DATA,
            "processes": others + _PROCESSES,
            "file": _LARGEST_FILE,
        }

    def _watch(self, service: Service) -> Ended:
        began = time.monotonic()
        try:
            with service:
                death, over = self._wait(service, began + self.timeout)
                seconds = time.monotonic() - began
                left: tuple[str, ...] = ()
                if death is not None and not service.wait(_STRAGGLER_GRACE):
                    left = tuple(sorted(service.living().values()))
                return Ended(
                    seconds=seconds,
                    exit=death.exit if death else None,
                    signal=death.signal if death else None,
                    hung=death is None and not over,
                    over=over,
                    left=left,
                    not_confined=service.not_confined(),
                )
        except ServiceFailed as error:
            # Without the name of the log, which is removed.
            why = str(error).partition(", see ")[0]
            return Ended(seconds=time.monotonic() - began, lost=why)

    def _wait(self, service: Service, until: float) -> tuple[ProcessEvent | None, str]:
        """Wait for the end of the process itself; return its death, or the limit that it passed."""
        while True:
            check_interrupted()
            gone = service.wait(max(0.0, min(_LOOK_EVERY, until - time.monotonic())))
            if (death := service.ended()) is not None:
                return death, ""
            if gone:
                raise ServiceFailed("a probe: its end was not seen")
            if _memory(service.living()) > _LARGEST_MEMORY:
                return None, f"{_LARGEST_MEMORY >> 30} GiB of memory"
            if time.monotonic() >= until:
                if _starved(service.living(), self.timeout):
                    raise ServiceFailed("the machine was too busy: it waited for a processor")
                return None, ""


def check_scratch(account: Account) -> None:
    """Raise :class:`CannotRun` if the account can't reach scratch directories."""
    if blocked := account.cannot_enter(safe_parent()):
        raise CannotRun(
            f"the unprivileged user of an audit can't enter {blocked}: point TMPDIR at another "
            "directory, such as /tmp"
        )


def _environment(home: Path) -> dict[str, str]:
    found = {
        name: value
        for name, value in child_environment().items()
        if name in ("LD_LIBRARY_PATH", "TZ")
    }
    return {**_NOT_OF_THE_USER, **found, "HOME": str(home), "TMPDIR": str(home)}


def _starved(pids: Iterable[int], seconds: float) -> bool:
    """Whether a thread has waited for a processor for half of the time: it need not hang then."""
    waits = (wait for pid in pids for wait in processor_waits(pid).values())
    return max(waits, default=0.0) > seconds / 2


def _memory(pids: Iterable[int]) -> int:
    """The bytes of memory in use by these processes."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):  # it has ended
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def _written(told: Directory) -> bytes:
    """What a process claimed, at most the first :data:`_LARGEST_CLAIMS` bytes."""
    try:
        with told.open("claims") as file:
            return read_at_most(file, _LARGEST_CLAIMS)
    except OSError:  # it ended before, or has made something else of it
        return b""


def _tail(scratch: Directory) -> str:
    try:
        with open_regular("log", dir_fd=scratch.fd) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _KEPT_OUTPUT))
            return read_at_most(file, _KEPT_OUTPUT).decode(errors="replace")
    except OSError:
        return ""


# --- what the claims say -------------------------------------------------------------------


def attempt_of(
    ended: Ended, kind: InterpreterKind, *, swapped: bool = False, in_turn: int = 0
) -> Attempt:
    """Return what a process did: its end, and its claims as far as they can be read."""
    stage, doing = Stage.START, ""
    failures: list[Failure] = []
    snapshots: list[Snapshot] = []
    values: dict[str, str] = {}
    gil: dict[str, bool] = {}
    memory: list[int] = []
    threads: tuple[str, ...] = ()
    for claim in _claims(ended.written):
        if claim.claim == "begin" and claim.stage in list(Stage):
            stage, doing = Stage(claim.stage), _doing(claim, kind)
        elif claim.claim == "failed" and claim.stage in list(Stage):
            failures.append(
                Failure(
                    interpreter=claim.interpreter,
                    stage=Stage(claim.stage),
                    module=claim.module,
                    error=one_line(claim.error),
                    deepest=claim.deepest,
                )
            )
        elif claim.claim == "value":
            values[str(claim.interpreter)] = claim.value
        elif claim.claim == "gil":
            gil[str(claim.interpreter)] = claim.gil
        elif claim.claim == "memory":
            memory.append(claim.memory)
        elif claim.claim == "threads":
            threads = claim.modules
        elif claim.claim == "snapshot":
            snapshots.append(_snapshot(claim))
        elif claim.claim == "finished":
            stage, doing = Stage.FINISHED, "at its end"
    ended_well = ended.exit == 0 and stage is Stage.FINISHED
    return Attempt(
        kind=kind,
        swapped=swapped,
        in_turn=in_turn,
        seconds=round(ended.seconds, 3),
        exit=ended.exit,
        signal=ended.signal,
        hung=ended.hung,
        over=ended.over,
        lost=ended.lost,
        stage=stage,
        doing="" if ended_well else doing,
        failures=tuple(failures),
        snapshots=tuple(snapshots),
        values=values,
        gil=gil,
        memory=tuple(memory[:in_turn]),
        threads=threads,
        left=ended.left,
        output="" if ended_well else ended.output,
    )


def _claims(written: bytes) -> Iterable[_Claim]:
    """The claims that can be read; after what can't be read nothing is."""
    for line in written.split(b"\n", _MOST_CLAIMS)[:_MOST_CLAIMS]:
        try:
            claim = _decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
        if claim.interpreter not in (0, 1, 2):
            return
        yield claim


def _doing(claim: _Claim, kind: InterpreterKind) -> str:
    where = ""
    if kind is not InterpreterKind.MAIN and claim.interpreter:
        where = f" in sub interpreter {claim.interpreter}"
    module = one_line(claim.module)
    return {
        Stage.START: "before it imported anything",
        Stage.IMPORT: f"while it imported {module}{where}",
        Stage.DEPENDENCY: f"while wsgiproof imported {module}{where}, which it had not imported",
        Stage.EXTENSION: f"while it imported {module}{where}",
        Stage.EXERCISE: f"in the exercise{where}",
        Stage.ENDING: f"while sub interpreter {claim.interpreter} ended",
        Stage.FINISHED: "at its end",
    }[Stage(claim.stage)]


def _snapshot(claim: _Claim) -> Snapshot:
    return Snapshot(
        interpreter=claim.interpreter,
        modules=claim.modules,
        standard=claim.standard,
        flags=claim.flags,
        things=claim.things,
        nones=claim.nones,
        warnings=claim.warnings,
    )
