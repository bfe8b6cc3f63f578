"""Check what a run needs on this machine: what was found, and how to fix what is missing.

``wsgiproof doctor`` shows all of it. ``wsgiproof run`` checks the same list before it starts
anything.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from wsgiproof import limits
from wsgiproof.config.model import Config
from wsgiproof.errors import PrerequisiteMissing, WsgiproofError
from wsgiproof.experiment.context import TRIALS_AT_ONCE
from wsgiproof.files import temporary_root
from wsgiproof.observe.cores import why_no_core
from wsgiproof.observe.stacks import NEEDS, has_pystack, why_no_stack
from wsgiproof.process.account import Account, server_account
from wsgiproof.process.cgroups import pids_limit
from wsgiproof.process.leftovers import describe_cleanup
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.compiler import find_compiler
from wsgiproof.provision.httpd import find_apaches, httpd_build
from wsgiproof.provision.python import choose_all
from wsgiproof.provision.toolchain import Apache, Python
from wsgiproof.records.machine import Prerequisite
from wsgiproof.server.configuration import DAEMON_THREADS
from wsgiproof.subjects.backend import Asked, Backends, Needs
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.registry import SUBJECTS

T = TypeVar("T")

_OUTPUT_BYTES = 50_000_000
_CACHE_BYTES = 500_000_000
_LARGEST_FILE = 256_000_000
"""A journal file of a database may have 100 MB, and a core file may be larger."""
_LEAST_DESCRIPTORS = 512
_OTHERS = 128
"""Descriptors of a process besides its connections."""
_THREADS = 32
"""Request threads of an Apache process, at most."""
_TASKS = 500
"""Processes and threads of Apache in a cell: most are there in the phase ``trials``."""
_PORTS = 500
"""Local ports for connections to backends, besides those of the load client."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, for a run to use."""

    account: Account
    pythons: tuple[Python, ...]
    """The requested interpreters, each with its name."""
    apaches: tuple[Apache, ...]
    """The requested ones."""
    backends: Backends


class Preflight:
    """Checks every prerequisite in turn, also after one is missing."""

    def __init__(self, config: Config, cache: Cache) -> None:
        self.prerequisites: list[Prerequisite] = []
        self._errors: list[WsgiproofError] = []
        self._account = self._check("user", server_account, _describe_account)
        account = self._account
        if account is not None:
            # First, since a limit may prevent starting anything.
            self._check("limits", lambda: raise_limits(config, account), str)
        self._pythons: tuple[Python, ...] | None = None
        # All three wait for programs that say what they are.
        with ThreadPoolExecutor() as pool:
            apaches = pool.submit(requested_apaches, config, cache)
            backends = pool.submit(_find_backends, config, account)
            if account is not None:
                pythons = pool.submit(choose_all, config.values("python"), account)
                self._pythons = self._check("python", pythons.result, _describe_pythons)
            self._check("compiler", find_compiler, str)
            self._apaches = self._check(
                "apache",
                apaches.result,
                lambda apaches: "; ".join(_describe_apache(one, cache) for one in apaches),
            )
            self._backends = self._check(
                SUBJECTS[config.subject].needed, backends.result, lambda backends: backends.found
            )
        self.prerequisites.append(Prerequisite(name="stacks", found=_describe_stacks()))
        self._check("cleanup", describe_cleanup, str)
        self._check("space", lambda: check_space(config, cache), str)

    def machine(self) -> Machine:
        """Return what was found. Raises the error of the first missing prerequisite, which says
        whether more are missing."""
        if self._errors:
            first, more = self._errors[0], len(self._errors) - 1
            raise type(first)(
                f"{first} ({more} more missing: see 'wsgiproof doctor')" if more else str(first)
            )
        assert self._account is not None
        assert self._pythons is not None
        assert self._apaches is not None
        assert self._backends is not None
        return Machine(
            account=self._account,
            pythons=self._pythons,
            apaches=self._apaches,
            backends=self._backends,
        )

    def _within_limits(self, find: Callable[[], T]) -> T:
        try:
            return find()
        except OSError as error:
            if limit := limits.explain(error):
                raise PrerequisiteMissing(limit) from error
            raise

    def _check(self, name: str, find: Callable[[], T], describe: Callable[[T], str]) -> T | None:
        try:
            found = self._within_limits(find)
        except WsgiproofError as error:
            self._errors.append(error)
            self.prerequisites.append(Prerequisite(name=name, problem=str(error)))
            return None
        self.prerequisites.append(Prerequisite(name=name, found=describe(found)))
        return found


def _describe_account(account: Account) -> str:
    return f"Apache's children run as '{account.name}'"


def _describe_pythons(pythons: Sequence[Python]) -> str:
    names = ", ".join(f"Python {python.version}, {python.path}" for python in pythons)
    return f"{names}, with a shared library and headers"


def raise_limits(config: Config, account: Account) -> str:
    """Raise the limits of this process, which its children inherit, to what a run needs.

    Returns a description of them. Raises :class:`PrerequisiteMissing` if a limit can't be raised
    far enough.
    """
    cells = slots(config)
    descriptors = _descriptors(config)
    _raise_limit(resource.RLIMIT_NOFILE, descriptors, 0, "descriptors in each process", "n")
    _raise_limit(resource.RLIMIT_FSIZE, _LARGEST_FILE, 0, "bytes in a file", "f")
    tasks = _TASKS * cells
    needed = _needs(config).tasks
    if not account.dropped:
        tasks += needed * cells
    used = limits.tasks(account.uid)
    _raise_limit(
        resource.RLIMIT_NPROC, tasks, used, f"processes and threads of user '{account.name}'", "u"
    )
    # A control group counts the processes of all users.
    _check_pids_limit((_TASKS + needed) * cells)
    first, last = limits.ports()
    if last - first + 1 < _PORTS + _connections(config):
        raise PrerequisiteMissing(
            f"this machine has only {last - first + 1} local ports for connections, and a run "
            f"needs about {_PORTS + _connections(config)}: widen net.ipv4.ip_local_port_range"
        )
    if problem := limits.why_no_port():
        raise PrerequisiteMissing(problem)
    return (
        f"at least {descriptors:,} descriptors in each process, {tasks:,} more processes and "
        f"threads, {last - first + 1:,} local ports"
    )


def _raise_limit(kind: int, needed: int, used: int, of_what: str, option: str) -> None:
    """Raise a limit so that ``needed`` more than ``used`` are allowed. Raises
    :class:`PrerequisiteMissing` if it can't be raised so far."""
    soft, hard = resource.getrlimit(kind)
    least = used + needed
    if soft == resource.RLIM_INFINITY or soft >= least:
        return
    if hard != resource.RLIM_INFINITY and hard < least:
        raise PrerequisiteMissing(
            f"{_shortage(hard, needed, used, of_what)}: raise the hard limit (`ulimit -H{option}`)"
        )
    resource.setrlimit(kind, (least, hard))


def _check_pids_limit(needed: int) -> None:
    limit = pids_limit()
    if limit is not None and limit.left < needed:
        what = "processes and threads of the control group"
        raise PrerequisiteMissing(
            f"{_shortage(limit.largest, needed, limit.used, what)}: raise {limit.group}/pids.max, "
            "in a container its --pids-limit"
        )


def _shortage(limit: int, needed: int, used: int, of_what: str) -> str:
    in_use = f", of which {used:,} are in use" if used else ""
    more = " more" if used else ""
    return f"the limit is {limit:,} {of_what}{in_use}, and a run needs about {needed:,}{more}"


def _descriptors(config: Config) -> int:
    """Return the most descriptors that a process of a run needs: the load client, an Apache process
    with full pools of several clients, or a backend with the other ends of these."""
    interpreters = max(config.sub_interpreters, 1)
    pools = 2 * interpreters * max(_THREADS, config.threads)
    trials = TRIALS_AT_ONCE * interpreters * max(DAEMON_THREADS, config.threads)
    return max(_LEAST_DESCRIPTORS, _connections(config), 4 * pools, 2 * trials) + _OTHERS


def _connections(config: Config) -> int:
    """Return the most requests in flight at the same time, over all cells that run at once."""
    plans = [config.plan().connections, *(one.connections or 0 for one in config.overrides)]
    burst = config.processes * max(config.threads, _THREADS)
    return max(*plans, burst) * slots(config)


def requested_apaches(config: Config, cache: Cache) -> tuple[Apache, ...]:
    """Return the Apaches for a run. Raises :class:`PrerequisiteMissing` if one lacks the MPM, or if
    one that wsgiproof builds can't be built."""
    apaches = find_apaches(config.values("httpd"), config.apxs)
    for one in apaches:
        _check_mpms(one, config.axis("mpm"), alone=len(apaches) == 1)
    if any(one.httpd is None for one in apaches) and not cache.has(httpd_build()):
        missing = [program for program in ("cc", "make", "perl") if shutil.which(program) is None]
        if missing:
            raise PrerequisiteMissing(
                "there is no Apache with apxs, and what is needed to build one is missing "
                f"({', '.join(missing)}): on Debian 'apt-get install apache2-bin apache2-dev'"
            )
    return apaches


def _check_mpms(apache: Apache, wanted: Sequence[str], *, alone: bool) -> None:
    """Raise :class:`PrerequisiteMissing` if an Apache lacks one of these MPMs; if it is one of
    several, only if it lacks all of them: the others have cells then."""
    lacking = [mpm for mpm in wanted if mpm not in apache.mpms]
    if lacking and apache.httpd is not None and (alone or len(lacking) == len(wanted)):
        others = f"only {', '.join(apache.mpms)}" if apache.mpms else "nor any other"
        raise PrerequisiteMissing(
            f"{apache.httpd.httpd} has no MPM '{lacking[0]}', {others}: install the module, or "
            "choose another --mpm"
        )


def _describe_apache(apache: Apache, cache: Cache) -> str:
    if apache.httpd is not None:
        return f"Apache {apache.version}, {apache.httpd.httpd}, MPMs {', '.join(apache.mpms)}"
    built = cache.has(httpd_build())
    if apache.asked:
        state = "has built" if built else "builds once, in about 5 minutes"
        return f"Apache {apache.version}, which wsgiproof {state}"
    if built:
        return "none on this machine; the one that wsgiproof has built is used"
    return "none with apxs on this machine; wsgiproof builds its own, once, in about 5 minutes"


def _describe_stacks() -> str:
    """Describe which stacks can be recorded. A run works without them, so none is required."""
    tools = [name for name, found in (("pystack", has_pystack()), ("gdb", _has_gdb())) if found]
    if not tools:
        return f"none of a process that crashes or hangs: {NEEDS}"
    reasons = {"a process that hangs": why_no_stack(), "one that crashes": why_no_core()}
    read = " and ".join(f"of {which}" for which, why in reasons.items() if not why)
    found = [f"{read}, by {' and '.join(tools)}"] if read else []
    return "; ".join(
        [*found, *(f"none of {which}: {why}" for which, why in reasons.items() if why)]
    )


def _has_gdb() -> bool:
    return shutil.which("gdb") is not None


def _subject(config: Config) -> tuple[Subject, Asked]:
    asked = Asked(values=config.all_values(), names=config.names)
    return SUBJECTS[config.subject], asked


def _needs(config: Config) -> Needs:
    """Return what the backend of one cell takes of the machine."""
    subject, asked = _subject(config)
    return subject.needs(asked)


def _find_backends(config: Config, account: Account | None) -> Backends:
    subject, asked = _subject(config)
    return subject.find_backends(asked, account)


def slots(config: Config) -> int:
    """Return the number of cells to run at the same time: each keeps about two cores busy, with its
    load."""
    return config.jobs or max(1, (os.cpu_count() or 1) // 2)


def check_space(config: Config, cache: Cache) -> str:
    """Return where there is enough space for a run. Raises :class:`PrerequisiteMissing` if there is
    too little."""
    scratch = temporary_root()
    output = Path(config.output).absolute()
    needed = {scratch: _needs(config).scratch * slots(config)}
    needed[output] = _OUTPUT_BYTES
    needed[cache.root] = _CACHE_BYTES
    for path, size in needed.items():
        existing = next(step for step in (path, *path.parents) if step.exists())
        free = shutil.disk_usage(existing).free
        if free < size:
            raise PrerequisiteMissing(
                f"only {free / 1e6:,.0f} MB are free at {existing}, and {size / 1e6:,.0f} MB may "
                "be needed: make room, or point TMPDIR, WSGIPROOF_CACHE or --output elsewhere"
            )
    return f"enough in {scratch}, {output} and {cache.root}"
