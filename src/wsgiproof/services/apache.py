"""A running Apache: started from a configuration of ours, watched, and stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from wsgiproof import limits
from wsgiproof.account import Account
from wsgiproof.errors import PortTaken, ServiceFailed
from wsgiproof.files import Directory, open_regular, read_at_most
from wsgiproof.process import ProcessEvent, Service, Stopped, how_it_ended
from wsgiproof.records import Role
from wsgiproof.services.apache_conf import ApacheConf
from wsgiproof.toolchain import Httpd

_READY = "resuming normal operations"
"""In the error log once the parent has bound its port and forked its children."""
_TAKEN = "Address already in use"
_HOPELESS = (
    "WSGI0025",
    "WSGI0036",
    "Unable to change working directory",
    "Unable to determine path to Python",
    "No module named 'encodings'",
)
"""No interpreter can start in this server: it would respawn for ever, and never serve (mod_wsgi's
error reference; before version 6 the messages have no codes)."""
_STARTS_PYTHON = re.compile("Initializing Python|Attach\\w* .*[Pp]ython|Attach interpreter")
_MOST_OF_A_LOG = 8 << 20
"""Bytes of its beginning, and of its end; a thousand restarts take five million."""
_LONGEST_LINE = 1000
_ATTEMPTS = 5
_LARGEST_CORE = 1 << 30
_CORES_ON_DISK = 20
"""A core file may take this part of what is free on the disk: the application allows for ten."""


class Family:
    """Which processes Apache's parent process (``pid``) has started, by their births and deaths.

    It starts all of Apache's own children. Any other process was started by one of them. Such a
    process may outlive the one that started it, and is the guard's child then; if that happens
    before it is first seen, nothing but the guard is known as its parent.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._name = ""
        self._ended = False
        self._helpers: dict[int, bool] = {}
        self._known = 0
        """How many of the births and deaths have been taken into account."""

    def take(self, events: Sequence[ProcessEvent]) -> None:
        """Account for what is new in all births and deaths so far."""
        for event in events[self._known :]:  # after many restarts they are many
            if event.kind == "died":
                self._ended |= event.pid == self._pid
            elif event.pid == self._pid:
                self._name = event.name
            else:
                self._helpers[event.pid] = event.ppid != self._pid and not self._left_behind(event)
        self._known = len(events)

    def _left_behind(self, birth: ProcessEvent) -> bool:
        """Whether Apache's parent process may have started it just before it ended itself: the
        process has no other parent left either, and its name is still Apache's."""
        return self._ended and birth.ppid not in self._helpers and birth.name == self._name

    def is_helper(self, pid: int) -> bool:
        """Whether one of Apache's children, or a helper, has started it."""
        return self._helpers.get(pid, False)


class Server:
    """An Apache that answers: its URLs, its processes, its error log, and how to stop it."""

    def __init__(self, service: Service, conf: ApacheConf) -> None:
        self._service = service
        self._conf = conf
        self._roles: dict[int, Role] = {service.pid: Role.PARENT}
        self._family = Family(service.pid)
        self.pid = service.pid
        self.executable = service.argv[0]
        self.daemon = conf.daemon
        """Whether a daemon process runs the application."""
        self.error_log = conf.error_log
        self.urls = tuple(f"http://{conf.host}:{conf.port}{url.path}" for url in conf.urls)

    def alive(self) -> bool:
        """Whether Apache's parent process is there."""
        return self._service.alive()

    def trouble(self, account: Account) -> str:
        """What was done to Apache's parent process that its children, which run as ``account``,
        can't have done; in one line, and empty if nothing.

        Where the parent is root's and they are not, none of them may send it a signal: that it was
        killed or paused is then the deed of root or of the kernel (out of memory). Where all are
        one user's, nobody can tell who it was, and it is taken for the subject's.
        """
        if not account.dropped:
            return ""
        ended = self._service.ended()
        if ended is not None and ended.signal == signal.SIGKILL:
            how = how_it_ended(ended)
        elif self._service.paused_by_others():
            how = "was paused for a while"
        else:
            return ""
        return f"Apache's parent process (pid {self.pid}) {how}, which no process of its own may do"

    def living(self) -> dict[int, Role]:
        """Every process of this server that is there now, and what it is for."""
        return {pid: self.role(pid) for pid in self._service.living()}

    def role(self, pid: int) -> Role:
        """What process ``pid`` is, or was, for."""
        known = self._roles.get(pid)
        if known in (None, Role.FRONTEND):  # it may have become a daemon process since
            self._roles[pid] = self._role_of(pid, known)
        return self._roles[pid]

    def _role_of(self, pid: int, known: Role | None) -> Role:
        if self._is_helper(pid):
            return Role.HELPER
        if not self._conf.daemon:
            return Role.WORKER
        # A child is named after its process group once mod_wsgi has made it a daemon process.
        try:
            title = psutil.Process(pid).cmdline()
        except psutil.Error:
            title = []
        if not title:  # it is gone
            return known or (Role.WORKER if self._ran_python(pid) else Role.FRONTEND)
        return Role.WORKER if title[0].startswith("(wsgi:") else Role.FRONTEND

    def _ran_python(self, pid: int) -> bool:
        """Whether the error log tells so of a process that is gone; no other but ours runs any."""
        lines = _read(self.error_log).split("\n")
        own = (line[:_LONGEST_LINE] for line in lines if f"[pid {pid}] " in line[:_LONGEST_LINE])
        return any(_STARTS_PYTHON.search(line) for line in own)

    def _is_helper(self, pid: int) -> bool:
        """Whether something else than Apache's parent process has started it."""
        self._family.take(self._service.events())
        return self._family.is_helper(pid)

    @property
    def service(self) -> Service:
        """The supervised process, for its events."""
        return self._service

    def restart(self) -> None:
        """Ask Apache to restart gracefully (SIGUSR1, as ``apachectl -k graceful``): it reads its
        configuration anew and replaces its children, each when its request is done."""
        self._service.signal(signal.SIGUSR1)

    def reload(self) -> None:
        """Touch the script: with its next request mod_wsgi replaces the daemon process that has it
        loaded (mod_wsgi docs, "Reloading Source Code")."""
        os.utime(self._conf.script)

    def stop(
        self,
        deadline: float,
        patience: float | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> Stopped:
        """Ask Apache to stop (SIGTERM, as ``apachectl -k stop``) and wait for every process.

        ``look`` is called where one is still there after ``patience`` seconds.
        """
        return self._service.stop(deadline, patience=patience, look=look)


@contextmanager
def start_apache(
    httpd: Httpd,
    configure: Callable[[int], ApacheConf],
    choose_port: Callable[[], int],
    start_deadline: float,
    logs: Path,
) -> Iterator[Server]:
    """Start Apache with ``configure(port)``, wait until it is ready, and end it with the context.

    A port that was taken between choice and bind is chosen anew. Raises :class:`ServiceFailed`
    with Apache's own reason.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        conf = configure(choose_port())
        with _service(httpd, conf, logs) as service:
            try:
                _await_ready(service, conf, logs, start_deadline)
            except PortTaken:
                if attempt == _ATTEMPTS:
                    raise
                continue
            yield Server(service, conf)
            return


def _service(httpd: Httpd, conf: ApacheConf, logs: Path) -> Service:
    path = conf.write(logs)
    output, events = logs / "httpd-output.log", conf.run_directory / "httpd.events"
    # What an attempt at another port left would be taken for this one's words. They are made here,
    # since Apache's children, who may enter the run directory, have no business with them.
    for file in (conf.error_log, output, events):
        with Directory(file.parent) as directory:
            directory.remove(file.name)
            directory.write(file.name, b"")
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        # What a thread has freed into its own cache counts as in use, and looks like growth. The
        # cache is an optimisation only (glibc manual, "Memory Allocation Tunables").
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    }
    return Service(
        [str(httpd.httpd), "-d", str(conf.run_directory), "-f", str(path), "-DFOREGROUND"],
        name="httpd",
        log=output,
        events=events,
        env=environment | httpd.environment(),
        cwd=conf.run_directory,
        remove=[conf.run_directory],
        core=_largest_core(conf.run_directory),
    )


def _largest_core(directory: Path) -> int:
    """Bytes that a core file may have; none is worth a full disk."""
    return min(_LARGEST_CORE, shutil.disk_usage(directory).free // _CORES_ON_DISK)


def _await_ready(service: Service, conf: ApacheConf, logs: Path, deadline: float) -> None:
    limit = time.monotonic() + deadline
    while True:
        text = _read(conf.error_log)
        if _READY in text and not any(sign in text for sign in _HOPELESS) and not _limit(text, ()):
            return
        ended = not service.alive()
        text = _read(logs / "httpd-output.log") + _read(conf.error_log)
        if _TAKEN in text:
            raise PortTaken(f"port {conf.port} was taken before Apache could bind it")
        if reached := _limit(text, (conf.error_log.parent, conf.run_directory)):
            raise ServiceFailed(f"Apache did not start: {reached} (see {conf.error_log})")
        if ended or any(sign in text for sign in _HOPELESS):
            raise ServiceFailed(f"Apache did not start: {_reason(text)} (see {conf.error_log})")
        if time.monotonic() > limit:
            raise ServiceFailed(
                f"Apache was not ready within {deadline:.0f} seconds: {_reason(text)} "
                f"(see {conf.error_log})"
            )
        time.sleep(0.01)


def _limit(text: str, directories: Sequence[Path]) -> str:
    """Which limit of this machine keeps an Apache that is not ready from starting; empty if none.

    It has words for most of them, but for a full disk nowhere to put them.
    """
    told = (limits.of_log(line) for line in text.splitlines())
    return next(filter(None, (*told, *map(limits.full, directories))), "")


def _read(path: Path) -> str:
    """A log, or the first and the last of one that is very long; empty if it can't be read."""
    try:
        with open_regular(path) as log:
            text = read_at_most(log, _MOST_OF_A_LOG)
            end = max(log.tell(), os.fstat(log.fileno()).st_size - _MOST_OF_A_LOG)
            log.seek(end)
            text += read_at_most(log, _MOST_OF_A_LOG)
    except OSError:
        return ""
    return text.decode(errors="replace")


def _reason(text: str) -> str:
    """Apache's own words: the first line that names an error, and the one that explains it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if re.search(r":(error|crit|alert|emerg)\]|AH00526|rror", line):
            explained = line.endswith(":") and number + 1 < len(lines)
            return f"{line} {lines[number + 1]}" if explained else line
    return lines[-1] if lines else "it said nothing"
