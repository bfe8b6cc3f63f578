"""What a run needs of this machine, what is there, and the line that mends what isn't.

``wsgiproof doctor`` shows all of it. ``wsgiproof run`` looks at the same list before it starts
anything.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from wsgiproof import limits
from wsgiproof.account import Account, server_account
from wsgiproof.build.compiler import find_compiler
from wsgiproof.build.httpd import find_httpd, httpd_build
from wsgiproof.build.python import choose_all
from wsgiproof.cache import Cache
from wsgiproof.cell import Topology
from wsgiproof.config import URI, Config
from wsgiproof.errors import NeedMissing, UsageError, WsgiproofError
from wsgiproof.files import temporary_root
from wsgiproof.leftovers import how_processes_end
from wsgiproof.observe.cores import why_no_core
from wsgiproof.observe.stacks import NEEDS, has_pystack
from wsgiproof.records import Prerequisite
from wsgiproof.services.mongod import Mongod, find_mongod
from wsgiproof.toolchain import Httpd, Python
from wsgiproof.uri import files, is_uri, resolve

T = TypeVar("T")

_SCRATCH_BYTES = 1_500_000_000
"""A replica set's data files, in the temporary directory."""
_OUTPUT_BYTES = 50_000_000
_CACHE_BYTES = 500_000_000
_LARGEST_FILE = 256_000_000
"""A file of a mongod's journal has 100 MB, and a core file may have more than that."""
_LEAST_DESCRIPTORS = 512
_OTHERS = 128
"""Descriptors of a process beside its connections."""
_THREADS = 32
"""Request threads of an Apache process, at most."""
_TASKS = 150
"""Processes and threads of a cell's Apache, of before and after a restart."""
_TASKS_OF_MONGODS = 300
_PORTS = 500
"""Local ports for connections to mongods, beside those of the load client."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, for a run to use."""

    account: Account
    pythons: tuple[Python, ...]
    """Those that were asked for, each with its name."""
    httpd: Httpd | None
    """None where the machine has none, and we build our own."""
    servers: Mapping[str, tuple[str, Mongod | str]]
    """By the value of the ``mongodb`` axis: what ids call it, and the mongod to start or the URI of
    a deployment that is there. Empty where there is to be none."""

    @property
    def mongod(self) -> Mongod | None:
        """The mongod of our own deployments, where there is one and no other."""
        ours = [server for _, server in self.servers.values() if isinstance(server, Mongod)]
        return ours[0] if len(ours) == 1 else None


class Preflight:
    """A look at every need in turn; each is looked at even if one before it isn't met."""

    def __init__(self, config: Config, cache: Cache) -> None:
        self.prerequisites: list[Prerequisite] = []
        self._errors: list[WsgiproofError] = []
        self._account = self._look("user", server_account, _told_account)
        account = self._account
        if account is not None:
            # Before anything is started, which a limit may prevent.
            self._look("limits", lambda: make_room(config, account), str)
        self._pythons: tuple[Python, ...] | None = None
        if account is not None:
            self._pythons = self._look(
                "python", lambda: choose_all(config.values("python"), account), _told_pythons
            )
        self._look("compiler", find_compiler, str)
        self._httpd = self._look(
            "apache", lambda: _find_httpd(config, cache), lambda httpd: _told_httpd(httpd, cache)
        )
        self._servers = self._look("mongod", lambda: _find_servers(config, account), _told_servers)
        self.prerequisites.append(Prerequisite(name="stacks", found=_told_stacks()))
        self._look("cleanup", how_processes_end, str)
        self._look("space", lambda: _find_space(config, cache), str)

    def machine(self) -> Machine:
        """What to run with. Raises the first unmet need's own error, and says if there are more."""
        if self._errors:
            first, more = self._errors[0], len(self._errors) - 1
            raise type(first)(
                f"{first} ({more} more missing: see 'wsgiproof doctor')" if more else str(first)
            )
        assert self._account is not None
        assert self._pythons is not None
        assert self._servers is not None
        return Machine(
            account=self._account,
            pythons=self._pythons,
            httpd=self._httpd,
            servers=self._servers,
        )

    def _within_limits(self, find: Callable[[], T]) -> T:
        try:
            return find()
        except OSError as error:
            if limit := limits.explain(error):
                raise NeedMissing(limit) from error
            raise

    def _look(self, name: str, find: Callable[[], T], tell: Callable[[T], str]) -> T | None:
        try:
            found = self._within_limits(find)
        except WsgiproofError as error:
            self._errors.append(error)
            self.prerequisites.append(Prerequisite(name=name, problem=str(error)))
            return None
        self.prerequisites.append(Prerequisite(name=name, found=tell(found)))
        return found


def _told_account(account: Account) -> str:
    return f"Apache's children run as '{account.name}'"


def _told_pythons(pythons: Sequence[Python]) -> str:
    told = ", ".join(f"Python {python.version}, {python.path}" for python in pythons)
    return f"{told}, with a shared library and headers"


def make_room(config: Config, account: Account) -> str:
    """Raise the limits of this process, which all that it starts inherits, to what a run takes.

    Returns what there is. Raises :class:`NeedMissing` where a limit can't be raised so far.
    """
    cells = slots(config)
    descriptors = _descriptors(config)
    _raise_limit(resource.RLIMIT_NOFILE, descriptors, 0, "descriptors in each process", "n")
    _raise_limit(resource.RLIMIT_FSIZE, _LARGEST_FILE, 0, "bytes in a file", "f")
    tasks = _TASKS * cells
    if not account.dropped and starts_mongod(config):
        tasks += _TASKS_OF_MONGODS * cells
    used = limits.tasks(account.uid)
    _raise_limit(
        resource.RLIMIT_NPROC, tasks, used, f"processes and threads of user '{account.name}'", "u"
    )
    first, last = limits.ports()
    if last - first + 1 < _PORTS + _connections(config):
        raise NeedMissing(
            f"this machine has only {last - first + 1} local ports for connections, and a run "
            f"takes about {_PORTS + _connections(config)}: widen net.ipv4.ip_local_port_range"
        )
    if problem := limits.no_port():
        raise NeedMissing(problem)
    return (
        f"at least {descriptors:,} descriptors in each process, {tasks:,} more processes and "
        f"threads, {last - first + 1:,} local ports"
    )


def _raise_limit(kind: int, wanted: int, used: int, of_what: str, option: str) -> None:
    """Have this limit allow ``wanted`` more than are ``used``. Raises :class:`NeedMissing`."""
    soft, hard = resource.getrlimit(kind)
    least = used + wanted
    if soft == resource.RLIM_INFINITY or soft >= least:
        return
    if hard != resource.RLIM_INFINITY and hard < least:
        there = f", of which {used:,} are in use" if used else ""
        raise NeedMissing(
            f"the limit is {hard:,} {of_what}{there}, and a run takes about {wanted:,}"
            f"{' more' if used else ''}: raise the hard limit (`ulimit -H{option}`)"
        )
    resource.setrlimit(kind, (least, hard))


def _descriptors(config: Config) -> int:
    """What the process of a run takes that has the most: the load client, an Apache process with
    full pools of several clients, or a mongod, which has all their other ends."""
    pools = 2 * max(config.sub_interpreters, 1) * _THREADS
    return max(_LEAST_DESCRIPTORS, _connections(config) + _OTHERS, 4 * pools + _OTHERS)


def _connections(config: Config) -> int:
    """Requests in flight at the same time, at most, over all cells that run at once."""
    plans = [config.plan().connections, *(one.connections or 0 for one in config.overrides)]
    return max(plans) * slots(config)


def _find_httpd(config: Config, cache: Cache) -> Httpd | None:
    httpd = find_httpd(config.httpd, config.apxs)
    for mpm in config.mpm:
        if httpd is not None and mpm not in httpd.mpms:
            raise NeedMissing(
                f"{httpd.httpd} has no MPM '{mpm}', only {', '.join(httpd.mpms)}: "
                "install the module, or choose another --mpm"
            )
    if httpd is None and not cache.has(httpd_build()):
        missing = [program for program in ("cc", "make", "perl") if shutil.which(program) is None]
        if missing:
            raise NeedMissing(
                "there is no Apache with apxs, nor what it takes to build one "
                f"({', '.join(missing)}): on Debian 'apt-get install apache2-bin apache2-dev'"
            )
    return httpd


def _told_httpd(httpd: Httpd | None, cache: Cache) -> str:
    if httpd is not None:
        return f"Apache {httpd.version}, {httpd.httpd}, MPMs {', '.join(httpd.mpms)}"
    if cache.has(httpd_build()):
        return "none on this machine; the one that wsgiproof has built is used"
    return "none with apxs on this machine; wsgiproof builds its own, once, in about 5 minutes"


def _find_servers(config: Config, account: Account | None) -> dict[str, tuple[str, Mongod | str]]:
    """Each value of the ``mongodb`` axis, with its name and what it stands for."""
    if set(config.values("topology")) == {Topology.NONE}:
        return {}
    found = {value: _find_server(value, config, account) for value in config.values("mongodb")}
    names = [name for name, _ in found.values()]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two of --mongodb would be called '{name}': give them names in mongodb_servers"
            )
    return found


def _find_server(value: str, config: Config, account: Account | None) -> tuple[str, Mongod | str]:
    target = config.server(value)
    if is_uri(target):
        uri = resolve(target)
        if account is not None:
            _check_files(uri, account)
        return (value if target != value else URI), uri
    if value and value not in config.mongodb_servers and "/" not in value:
        raise UsageError(
            f"--mongodb {value}: it is no path, no mongodb:// URI, and no name in mongodb_servers"
        )
    mongod = find_mongod(target or None)
    named = value if target != value else f"mongod{mongod.version}" if value else ""
    return named, mongod


def _check_files(uri: str, account: Account) -> None:
    """The subject reads the files of its URI itself, in another directory, as another user."""
    for option, path in files(uri).items():
        if not path.is_absolute():
            raise UsageError(
                f"{option}={path} of --mongodb has to be an absolute path: Apache's processes work "
                "in another directory"
            )
        if not path.is_file():
            raise UsageError(f"{option}={path} of --mongodb: there is no such file")
        blocked = account.cannot_reach(path)
        if blocked:
            raise NeedMissing(
                f"Apache's user '{account.name}' can't read {path} ({option} of --mongodb), since "
                f"{blocked} is closed to it: open that, or put a copy elsewhere"
            )


def _told_servers(servers: Mapping[str, tuple[str, Mongod | str]]) -> str:
    told = [
        f"MongoDB {server.version}, {server.path}"
        if isinstance(server, Mongod)
        else f"a deployment of yours is used ({name})"
        for name, server in servers.values()
    ]
    return "; ".join(told) or "none is needed"


def _told_stacks() -> str:
    """What a crash or a hang will leave; a run goes without it, so it is no need."""
    tools = [name for name, there in (("pystack", has_pystack()), ("gdb", _has_gdb())) if there]
    if not tools:
        return f"none of a process that crashes or hangs: {NEEDS}"
    told = f"of a process that hangs, by {' and '.join(tools)}"
    blocked = why_no_core()
    return f"{told}; none of one that crashes: {blocked}" if blocked else f"{told}, or crashes"


def _has_gdb() -> bool:
    return shutil.which("gdb") is not None


def starts_mongod(config: Config) -> bool:
    """Whether deployments of our own are started."""
    ours = any(not is_uri(config.server(value)) for value in config.values("mongodb"))
    return ours and set(config.values("topology")) != {Topology.NONE}


def slots(config: Config) -> int:
    """Cells that run at the same time: each keeps about two cores busy, with its load."""
    return config.jobs or max(1, (os.cpu_count() or 1) // 2)


def _find_space(config: Config, cache: Cache) -> str:
    scratch = temporary_root()
    output = Path(config.output).absolute()
    needed = {scratch: _SCRATCH_BYTES * slots(config) if starts_mongod(config) else 0}
    needed[output] = _OUTPUT_BYTES
    needed[cache.root] = _CACHE_BYTES
    for path, size in needed.items():
        there = next(step for step in (path, *path.parents) if step.exists())
        free = shutil.disk_usage(there).free
        if free < size:
            raise NeedMissing(
                f"only {free / 1e6:,.0f} MB are free at {there}, and {size / 1e6:,.0f} MB may be "
                "needed: make room, or point TMPDIR, WSGIPROOF_CACHE or --output elsewhere"
            )
    return f"enough in {scratch}, {output} and {cache.root}"
