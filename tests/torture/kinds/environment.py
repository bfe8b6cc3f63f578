"""Unusual environments: variables, limits, umasks, streams, directories."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.control_groups import limited_group
from tests.torture.sandbox import Fault, Sandbox, options

WEIGHT = 13
VARIANTS = [
    "no HOME",
    "a HOME that is not there",
    "an empty HOME",
    "TMPDIR relative",
    "TMPDIR not there",
    "TMPDIR a file",
    "TMPDIR not UTF-8",
    "TMPDIR too long",
    "TMPDIR with spaces and quotes",
    "TMPDIR with a newline",
    "TMPDIR 0700",
    "TMPDIR empty",
    "LANG C",
    "LC_ALL POSIX without UTF-8 mode",
    "LANG unknown",
    "PYTHONIOENCODING ascii",
    "PYTHONOPTIMIZE",
    "PYTHONDEVMODE",
    "TERM unknown, one column",
    "TZ unknown",
    "LD_PRELOAD not there",
    "a proxy that is dead",
    "PATH empty",
    "PATH without Apache",
    "output with spaces",
    "output not UTF-8",
    "output relative",
    "umask 000",
    "umask 077",
    "umask 777",
    "stdin closed",
    "stdout closed",
    "stderr closed",
    "all closed",
    "stdout full",
    "stdout gone after a line",
    "descriptors 16",
    "descriptors 32",
    "descriptors 64",
    "processes 4",
    "processes 12",
    "processes 30",
    "stack 512k",
    "memory 150 MB",
    "memory 400 MB",
    "cpu 2 seconds",
    "no core",
    "SIGINT ignored",
    "SIGCHLD ignored",
    "SIGTERM blocked",
    "all signals blocked",
    "cwd deleted",
    "cwd not ours",
    "a file of another user as configuration",
]
_HARMLESS = frozenset(
    {
        "no HOME",
        "a HOME that is not there",
        "an empty HOME",
        "TMPDIR empty",
        "LANG C",
        "LANG unknown",
        "LC_ALL POSIX without UTF-8 mode",
        "PYTHONIOENCODING ascii",
        "TERM unknown, one column",
        "TZ unknown",
        "LD_PRELOAD not there",
        "a proxy that is dead",
        "output with spaces",
        "output relative",
        "umask 000",
        "umask 077",
        "stdin closed",
        "no core",
        "SIGINT ignored",
    }
)
"""Environments in which a run has to reach its verdict."""
_STREAMS = ("stdin", "stdout", "stderr")
_QUIET = ("stdout closed", "stderr closed", "all closed", "stdout full", "stdout gone after a line")


def missing() -> str:
    """Some variants need root; for an ordinary user there is another way, or a limit of that
    user."""
    return ""


def draw(variant: str, rng: random.Random) -> dict[str, Any]:
    """Choose the environment and the command."""
    topology = "standalone" if rng.random() < 0.2 else "none"
    return {
        "environment": variant,
        "command": rng.choice(["run", "run", "list", "doctor", "show"]),
        "topology": topology,
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Start a command in such an environment, and check it; resume a run in a normal
    environment."""
    name, command = details["environment"], details["command"]
    how = _how(box, name)
    cell = options(details["topology"])
    if command != "run":
        _other(box, name, command, how)
        return
    more = how.pop("more", [])
    run = box.start("run", *cell, *more, **how) if more else box.start_run(cell, **how)
    if name == "stdout gone after a line":
        _close_after_a_line(run.process)
    ended = box.finish(run)
    fault = Fault(name, codes=() if name in _HARMLESS else (2, 3, -signal.SIGPIPE, -signal.SIGXCPU))
    if more:
        box.output = box.cwd / more[-1]
    if (box.output / "results.json").is_file():
        if name not in _QUIET:
            box.check_end(ended, fault)
        else:
            box.check_code(ended, (0, 3, 130, 141, -signal.SIGPIPE))
    else:
        allowed = (0,) if name in _HARMLESS else (2, 3, 141, -signal.SIGPIPE, -signal.SIGXCPU)
        box.check_code(ended, allowed)
    _check_foreign(box)
    box.settle(directories=not more)
    box.check_verdicts(fault, {})
    _check_modes(box, name)
    if name == "TMPDIR 0700":
        box.tmp.chmod(0o711)
    if name in ("TMPDIR not UTF-8", "TMPDIR with a newline"):  # no run can do with these
        box.tmp = box.root / "usual"
        box.tmp.mkdir(mode=0o711)
    if not more and name != "cwd deleted":
        box.check_show()
        box.check_resume(cell)


def _other(box: Sandbox, name: str, command: str, how: dict[str, Any]) -> None:
    """Use the environment for a command that starts no servers."""
    how.pop("more", None)
    arguments = {
        "list": ["list", "--mod-wsgi", "5.0.2", "--pymongo", "4.20.0", "--topology", "none"],
        "doctor": ["doctor"],
        "show": ["show", box.setup.base],
    }[command]
    run = box.start(*arguments, **how)
    if name == "stdout gone after a line":
        _close_after_a_line(run.process)
    ended = box.finish(run, 60.0)
    if not ended.hung:
        allowed: tuple[int, ...] = (0, 2, 3, 141, -signal.SIGPIPE, -signal.SIGXCPU)
        if name in _HARMLESS:
            allowed = (0,)
        box.check_code(ended, allowed, command)
    _check_foreign(box)
    box.settle()


def _close_after_a_line(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    with suppress(OSError):
        process.stdout.close()


def _check_modes(box: Sandbox, name: str) -> None:
    """Report an output directory that others can read, or a file that others can write, whatever
    the umask."""
    if box.output.is_dir() and box.output.stat().st_mode & 0o077:
        box.report("harm", f"{name}: the output directory has mode {box.output.stat().st_mode:o}")
    for path in box.output.rglob("*"):
        if not path.is_symlink() and path.stat().st_mode & 0o002:
            box.report("harm", f"{name}: others may write {path.relative_to(box.output)}")
            return


def _how(box: Sandbox, name: str) -> dict[str, Any]:
    """Return the arguments of ``Sandbox.start`` that create this environment."""
    if name.startswith(("TMPDIR", "output", "cwd")) or "configuration" in name:
        return _directories(box, name)
    if name in _VARIABLES:
        return {"changes": _VARIABLES[name]}
    if "closed" in name or name.startswith("stdout"):
        return _streams(name)
    if name.startswith("processes"):
        return {"prepare": _few_processes(box, int(name.split()[1]))}
    return {"prepare": _PREPARED[name]}


_VARIABLES: dict[str, dict[str, str | None]] = {
    "no HOME": {"HOME": None},
    "a HOME that is not there": {"HOME": "/no/such/home"},
    "an empty HOME": {"HOME": ""},
    "LANG C": {"LANG": "C", "LC_ALL": "C"},
    "LC_ALL POSIX without UTF-8 mode": {
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    },
    "LANG unknown": {"LANG": "xx_YY.bogus", "LC_ALL": "tlh_QO.klingon"},
    "PYTHONIOENCODING ascii": {"PYTHONIOENCODING": "ascii"},
    "PYTHONOPTIMIZE": {"PYTHONOPTIMIZE": "2"},
    "PYTHONDEVMODE": {"PYTHONDEVMODE": "1"},
    "TERM unknown, one column": {"TERM": "no-such", "COLUMNS": "1", "LINES": "1"},
    "TZ unknown": {"TZ": "Mars/Olympus"},
    "LD_PRELOAD not there": {"LD_PRELOAD": "/no/such/library.so"},
    "a proxy that is dead": {
        "http_proxy": "http://127.0.0.1:1",
        "https_proxy": "http://127.0.0.1:1",
        "all_proxy": "http://127.0.0.1:1",
    },
    "PATH empty": {"PATH": ""},
    "PATH without Apache": {"PATH": "/bin"},
}


def _enter_and_delete(directory: Path) -> None:
    os.chdir(directory)
    directory.rmdir()


def _directories(box: Sandbox, name: str) -> dict[str, Any]:
    if name == "TMPDIR 0700":
        box.tmp.chmod(0o700)
        return {}
    if name.startswith("TMPDIR"):
        return {"changes": {"TMPDIR": _odd_tmp(box, name)}}
    if name.startswith("output"):
        word = {
            "output with spaces": "o ut 'put\"",
            "output not UTF-8": os.fsdecode(b"out\xff\xfe"),
            "output relative": "out/put",
        }[name]
        return {"more": ["--output", word]}
    if name == "cwd deleted":
        gone = Path(tempfile.mkdtemp(dir=box.root))
        return {"prepare": partial(_enter_and_delete, gone)}
    if name == "cwd not ours":
        return {"cwd": Path("/proc")}
    return _foreign_configuration(box)


_CONFIGURATION = "wsgiproof.toml"
_RAN = "ran"


def _foreign_configuration(box: Sandbox) -> dict[str, Any]:
    """Plant a configuration that names a program to run; without root it can only be made
    world-writable."""
    file, program = box.cwd / _CONFIGURATION, box.root / "mongod"
    program.write_text(f"#!/bin/sh\ntouch {box.root / _RAN}\n")
    program.chmod(0o755)
    file.write_text(f'mongodb = "{program}"\n')
    file.chmod(0o666)
    if os.geteuid() == 0:
        os.chown(file, 65534, 65534)
    return {}


def _check_foreign(box: Sandbox) -> None:
    (box.cwd / _CONFIGURATION).unlink(missing_ok=True)
    if (box.root / _RAN).exists():
        box.report("harm", "a program that another user's configuration names was run")


def _odd_tmp(box: Sandbox, name: str) -> str:
    word = {
        "TMPDIR relative": "odd",
        "TMPDIR not there": str(box.tmp / "none"),
        "TMPDIR a file": str(box.root / "file"),
        "TMPDIR not UTF-8": os.fsdecode(os.fsencode(box.root) + b"/\xff\xfe"),
        "TMPDIR too long": str(box.root / ("long" * 25)),
        "TMPDIR with spaces and quotes": str(box.root / "a 'b\" c"),
        "TMPDIR with a newline": str(box.root / "a\nb"),
        "TMPDIR empty": "",
    }[name]
    if name == "TMPDIR a file":
        Path(word).write_text("")
    elif name == "TMPDIR relative":
        (box.cwd / word).mkdir(mode=0o711)
        box.tmp = box.cwd / word
        box.cwd = Path(box.root, "w2")
        box.cwd.mkdir()
        return os.path.relpath(box.tmp, box.cwd)
    elif word and name != "TMPDIR not there":
        Path(word).mkdir(mode=0o711)
        box.tmp = Path(word)
    return word


def _close(descriptors: list[int]) -> None:
    for number in descriptors:
        os.close(number)


def _streams(name: str) -> dict[str, Any]:
    if name == "stdout full":
        return {"stdout": os.open("/dev/full", os.O_WRONLY)}
    if name == "stdout gone after a line":
        return {}
    closed = [0, 1, 2] if name == "all closed" else [_STREAMS.index(name.split()[0])]
    return {"prepare": partial(_close, closed)}


def _few_processes(box: Sandbox, most: int) -> Callable[[], None]:
    """Limit processes; for root with a control group, since RLIMIT_NPROC does not apply to root
    (setrlimit(2))."""
    if os.geteuid() != 0:
        # The running processes of this user count as well.
        count = len([path for path in Path("/proc").glob("[0-9]*/task/*") if _is_mine(path)])
        return lambda: resource.setrlimit(resource.RLIMIT_NPROC, (count + most, count + most))
    group = limited_group(most)
    if group is not None:
        box.cleanups.append(partial(_remove_group, group))
        return partial(_join_group, group)
    box.note("no cgroup can limit processes here; descriptors are limited instead")
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))


def _join_group(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _remove_group(group: Path) -> None:
    with suppress(OSError):
        group.rmdir()


def _is_mine(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_uid == os.geteuid()
    return False


def _limit(which: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(which, (value, value))


def _ignore(number: int) -> Callable[[], object]:
    return lambda: signal.signal(number, signal.SIG_IGN)


_PREPARED: dict[str, Callable[[], object]] = {
    "umask 000": lambda: os.umask(0),
    "umask 077": lambda: os.umask(0o077),
    "umask 777": lambda: os.umask(0o777),
    "descriptors 16": _limit(resource.RLIMIT_NOFILE, 16),
    "descriptors 32": _limit(resource.RLIMIT_NOFILE, 32),
    "descriptors 64": _limit(resource.RLIMIT_NOFILE, 64),
    "stack 512k": _limit(resource.RLIMIT_STACK, 512 << 10),
    "memory 150 MB": _limit(resource.RLIMIT_AS, 150 << 20),
    "memory 400 MB": _limit(resource.RLIMIT_AS, 400 << 20),
    "cpu 2 seconds": _limit(resource.RLIMIT_CPU, 2),
    "no core": _limit(resource.RLIMIT_CORE, 0),
    "SIGINT ignored": _ignore(signal.SIGINT),
    "SIGCHLD ignored": _ignore(signal.SIGCHLD),
    "SIGTERM blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
    "all signals blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()),
}
