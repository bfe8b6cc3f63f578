"""A running Apache: started from a generated configuration, watched, and stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from wsgiproof import limits
from wsgiproof.errors import PortTaken, ServiceFailed
from wsgiproof.files import Directory, open_regular, read_at_most
from wsgiproof.process.account import Account
from wsgiproof.process.guard.proc import read_small
from wsgiproof.process.guarded import PrivatePlaces, ProcessEvent
from wsgiproof.process.service import Service, Stopped, how_it_ended
from wsgiproof.provision.toolchain import Httpd
from wsgiproof.records.observed import Role
from wsgiproof.server.configuration import ApacheConf

_READY = "resuming normal operations"
"""In the error log once the parent has bound its port and forked its children."""
_PORT_TAKEN = "Address already in use"
_FATAL = (
    "WSGI0025",
    "WSGI0036",
    "Unable to change working directory",
    "Unable to determine path to Python",
    "No module named 'encodings'",
)
"""Signs that no interpreter can start in this server: its children would respawn forever and never
serve (mod_wsgi's error reference; before version 6 the messages have no codes)."""
_STARTS_PYTHON = re.compile("Initializing Python|Attach\\w* .*[Pp]ython|Attach interpreter")
_BECAME_DAEMON = re.compile(
    rb"^\[[^]]*\] \[wsgi:info\] \[pid (\d+):tid \d+\] [^\n]*Starting (?:daemon )?process '", re.M
)
"""What mod_wsgi logs in a daemon process as it starts, before version 6 and since."""
_MOST_OF_A_LOG = 8 << 20
"""Bytes that are read from each end of a log; a thousand restarts take five million."""
_LONGEST_LINE = 1000
_ATTEMPTS = 5
_LARGEST_CORE = 1 << 30
LARGEST_ACCESS_LOG = 64 << 20
"""Bytes that are kept of it; a cell of 125,000 requests writes 20 million."""
_CORES_ON_DISK = 20
"""A core file may take one part in this many of the free disk space: an application may leave
ten."""


class ProcessTree:
    """Tells Apache's own children from helper processes, by the births and deaths of processes.

    Apache's parent process (``pid``) starts all of Apache's own children. Any other process is a
    helper, which one of them started. A helper may outlive the process that started it; it then
    becomes the guard's child. If that happens before the helper is first seen, only the guard is
    known as its parent.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._name = ""
        self._ended = False
        self._helpers: dict[int, bool] = {}
        self._known = 0
        """The number of births and deaths that have been processed."""

    def update(self, events: Sequence[ProcessEvent]) -> None:
        """Process what is new in ``events``, which are all births and deaths so far."""
        for event in events[self._known :]:  # only the new ones: restarts make many events
            if event.kind == "died":
                self._ended |= event.pid == self._pid
            elif event.pid == self._pid:
                self._name = event.name
            else:
                self._helpers[event.pid] = event.ppid != self._pid and not self._is_orphan(event)
        self._known = len(events)

    def _is_orphan(self, birth: ProcessEvent) -> bool:
        """Whether Apache's parent process may have started this process just before the parent
        ended: no other parent of the process is known, and its name is still Apache's."""
        return self._ended and birth.ppid not in self._helpers and birth.name == self._name

    def is_helper(self, pid: int) -> bool:
        """Whether one of Apache's children, or another helper, started this process."""
        return self._helpers.get(pid, False)


class Server:
    """An Apache that serves: its URLs, its processes, its error log, and how to stop it."""

    def __init__(self, service: Service, conf: ApacheConf, logs: Path) -> None:
        self._service = service
        self._conf = conf
        self._logs = logs
        self._roles: dict[int, Role] = {service.pid: Role.PARENT}
        self._tree = ProcessTree(service.pid)
        self._daemons: set[int] = set()
        self._read_to = 0
        self.pid = service.pid
        self.executable = service.argv[0]
        self.daemon = conf.daemon
        """Whether a daemon process runs the application."""
        self.lazy = conf.lazy
        """Whether the first request to an interpreter loads the application."""
        self.uniform = conf.uniform
        """Whether all URLs have equally many processes."""
        self.error_log = conf.error_log
        self.urls = conf.locations()[0]

    def alive(self) -> bool:
        """Whether Apache's parent process is alive."""
        return self._service.alive()

    def trouble(self, account: Account) -> str:
        """Return in one line what others did to Apache's parent process; empty if nothing.

        Only what its children, which run as ``account``, cannot have done counts. If the parent
        runs as root and its children do not, they may not send it a signal. If it was killed or
        paused, then root or the kernel (out of memory) did it. If all run as the same user, the
        sender is unknown, and the subject is held responsible.
        """
        if not account.dropped or self._conf.run_as is not None:
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
        """Return the role of every process of this server that is alive now."""
        return {pid: self.role(pid) for pid in self._service.living()}

    def role(self, pid: int) -> Role:
        """Return the role that process ``pid`` has, or had."""
        known = self._roles.get(pid)
        if known in (None, Role.FRONTEND):  # it may have become a daemon process meanwhile
            self._roles[pid] = self._role_of(pid, known)
        return self._roles[pid]

    def _role_of(self, pid: int, known: Role | None) -> Role:
        if self._is_helper(pid):
            return Role.HELPER
        if not self._conf.daemon:
            return Role.WORKER
        if not self._conf.titled:
            return Role.WORKER if pid in self._started_daemons() else Role.FRONTEND
        # A child is named after its process group once mod_wsgi has made it a daemon process.
        title = read_small(f"/proc/{pid}/cmdline")
        if not title:  # it is gone
            return known or (Role.WORKER if self._ran_python(pid) else Role.FRONTEND)
        return Role.WORKER if title.startswith(b"(wsgi:") else Role.FRONTEND

    def _started_daemons(self) -> set[int]:
        """Return the processes that the error log says have become daemon processes."""
        with suppress(OSError), open_regular(self.error_log) as log:
            log.seek(self._read_to)
            whole, newline, _ = read_at_most(log, _MOST_OF_A_LOG).rpartition(b"\n")
            self._read_to += len(whole + newline)
            self._daemons |= {int(pid) for pid in _BECAME_DAEMON.findall(whole)}
        return self._daemons

    def _ran_python(self, pid: int) -> bool:
        """Whether the error log shows that a process that is gone has run Python."""
        lines = (line[:_LONGEST_LINE] for line in _read(self.error_log).split("\n"))
        written = re.compile(rf"\[pid {pid}(?::tid \d+)?\] ")
        return any(written.search(line) and _STARTS_PYTHON.search(line) for line in lines)

    def _is_helper(self, pid: int) -> bool:
        """Whether a process other than Apache's parent started this process."""
        self._tree.update(self._service.events())
        return self._tree.is_helper(pid)

    @property
    def service(self) -> Service:
        """The supervised process, for its events."""
        return self._service

    def restart(self) -> None:
        """Ask Apache to restart gracefully (SIGUSR1, as ``apachectl -k graceful``). It reads its
        configuration again and replaces each child when its request is done."""
        self._service.signal(signal.SIGUSR1)

    def replace_all(self) -> None:
        """Ask Apache to replace all processes, in the way that starts new ones at once.

        In a graceful restart it starts all daemon processes, but after that one child each
        second. In a restart (SIGHUP, as ``apachectl -k restart``) it waits until all children have
        ended, and starts all of them.
        """
        self._service.signal(signal.SIGUSR1 if self.daemon else signal.SIGHUP)

    def configure(self, processes: int) -> ApacheConf:
        """Have so many processes that run the application from the next restart on, and return the
        configuration. There are never fewer than the cell has."""
        conf = self._conf.with_processes(processes)
        conf.write(self._logs)
        return conf

    def reload(self) -> None:
        """Touch the script, so that with the next request mod_wsgi replaces the daemon process that
        has loaded it (mod_wsgi docs, "Reloading Source Code")."""
        os.utime(self._conf.script)

    def stop(self, deadline: float, follow: Callable[[float], None] | None = None) -> Stopped:
        """Ask Apache to stop (SIGTERM, as ``apachectl -k stop``) and wait for every process to end.

        ``follow`` is called again and again while one is alive, with the seconds since. All times
        are in seconds.
        """
        return self._service.stop(deadline, follow=follow)


@contextmanager
def start_apache(
    httpd: Httpd,
    configure: Callable[[int], ApacheConf],
    choose_port: Callable[[], int],
    start_deadline: float,
    logs: Path,
    private: PrivatePlaces | None = None,
) -> Iterator[Server]:
    """Start Apache with ``configure(port)``, wait until it is ready, and end it with the context.

    If another process takes the port between choice and bind, another port is chosen.
    ``start_deadline`` is in seconds, and ``private`` what the server has to itself. Raises
    :class:`ServiceFailed` with Apache's own reason.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        conf = configure(choose_port())
        with ExitStack() as stack:
            if conf.access_log is not None:
                stack.callback(_shorten, conf.access_log)
            stack.callback(conf.keep_log)
            service = stack.enter_context(_service(httpd, conf, logs, private))
            try:
                _await_ready(service, conf, logs, start_deadline)
            except PortTaken:
                if attempt == _ATTEMPTS:
                    raise
                continue
            yield Server(service, conf, logs)
            return


def _shorten(log: Path) -> None:
    """Keep only the end of a log that is too large, unless somebody has put something else in its
    place. Nobody has it open any more."""
    with suppress(OSError), Directory(log.parent) as directory:
        with directory.open(log.name) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= LARGEST_ACCESS_LOG:
                return
            file.seek(size - LARGEST_ACCESS_LOG)
            file.readline(LARGEST_ACCESS_LOG)  # half a line
            kept = read_at_most(file, LARGEST_ACCESS_LOG)
        directory.remove(log.name)
        directory.write(log.name, kept)


def _service(httpd: Httpd, conf: ApacheConf, logs: Path, private: PrivatePlaces | None) -> Service:
    path = conf.write(logs)
    output, events = logs / "httpd-output.log", conf.run_directory / "httpd.events"
    # Emptied first, since what an attempt at another port wrote would be read as output of this
    # one. They are created here because Apache's children may enter the run directory, but must not
    # touch these files.
    for file in (output, events):
        with Directory(file.parent) as directory:
            directory.remove(file.name)
            directory.write(file.name, b"")
    for log in filter(None, (conf.error_log, conf.access_log)):
        with Directory(log.parent) as directory:
            conf.make_log(directory, log.name)
    environment = {
        "PATH": conf.search_path,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        # Memory that a thread has freed into its own cache counts as in use, and looks like growth.
        # The cache is only an optimisation (glibc manual, "Memory Allocation Tunables").
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    }
    if conf.tmp is not None:
        environment["TMPDIR"] = str(conf.tmp)
    owned = private.directories.values() if private else ()
    return Service(
        [str(httpd.httpd), "-d", str(conf.run_directory), "-f", str(path), "-DNO_DETACH"],
        name="httpd",
        log=output,
        events=events,
        env=environment | httpd.environment() | dict(conf.environment),
        cwd=Path("/"),  # as a system's service manager starts it
        remove=[conf.run_directory, *(own.parent for own in owned)],
        core=_largest_core(conf.run_directory),
        core_directory=conf.run_directory,
        user=conf.run_as,
        private=private,
    )


def _largest_core(directory: Path) -> int:
    """Return the largest size of a core file in bytes, so that it does not fill the disk."""
    return min(_LARGEST_CORE, shutil.disk_usage(directory).free // _CORES_ON_DISK)


def _await_ready(service: Service, conf: ApacheConf, logs: Path, deadline: float) -> None:
    limit = time.monotonic() + deadline
    while True:
        text = _read(conf.error_log)
        fatal = any(sign in text for sign in _FATAL)
        if _READY in text and not fatal and not _exhausted_limit(text, ()):
            return
        ended = not service.alive()
        text = _read(logs / "httpd-output.log") + _read(conf.error_log)
        if _PORT_TAKEN in text:
            raise PortTaken(f"port {conf.port} was taken before Apache could bind it")
        if limit_reached := _exhausted_limit(text, (conf.error_log.parent, conf.run_directory)):
            raise ServiceFailed(f"Apache did not start: {limit_reached} (see {conf.kept_log})")
        if ended or any(sign in text for sign in _FATAL):
            raise ServiceFailed(f"Apache did not start: {_reason(text)} (see {conf.kept_log})")
        if time.monotonic() > limit:
            raise ServiceFailed(
                f"Apache was not ready within {deadline:.0f} seconds: {_reason(text)} "
                f"(see {conf.kept_log})"
            )
        time.sleep(0.01)


def _exhausted_limit(text: str, directories: Sequence[Path]) -> str:
    """Return which limit of this machine keeps Apache from starting; empty if none does.

    Apache logs most of them, but it can't log that the disk is full.
    """
    logged = (limits.explain_log_line(line) for line in text.splitlines())
    return next(filter(None, (*logged, *map(limits.why_full, directories))), "")


def _read(path: Path) -> str:
    """Return a log, or only both ends of a very long one; empty if it can't be read."""
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
    """Return Apache's own reason: the first line that names an error, and the line that explains
    it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if re.search(r":(error|crit|alert|emerg)\]|AH00526|rror", line):
            explained = line.endswith(":") and number + 1 < len(lines)
            return f"{line} {lines[number + 1]}" if explained else line
    return lines[-1] if lines else "it printed nothing"
