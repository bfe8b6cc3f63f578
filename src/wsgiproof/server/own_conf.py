"""What a user's own ``httpd.conf`` says about the server that it makes.

Apache reads the file itself. Here only those directives are read that wsgiproof has to know: where
the server listens, and which processes run the application. What is concluded from them is checked
later, by what the interpreters report of themselves.
"""

from __future__ import annotations

import glob
import grp
import hashlib
import os
import pwd
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from wsgiproof.errors import UsageError, describe
from wsgiproof.files import read_file
from wsgiproof.process.account import Account
from wsgiproof.process.commands import run_unguarded
from wsgiproof.records.cell import InterpreterKind, Loading, Mode, Mpm
from wsgiproof.server.configuration import DAEMON_THREADS

PORT = "WSGIPROOF_PORT"
"""The variable in whose place a file gets a free port."""
MOD_WSGI_SO, MOD_WSGI_PYTHON_HOME = "MOD_WSGI_SO", "MOD_WSGI_PYTHON_HOME"
"""The variables in whose place a file gets mod_wsgi and the Python of the cell."""
_GIVEN = (PORT, MOD_WSGI_SO, MOD_WSGI_PYTHON_HOME)
_VARIABLE = re.compile(r"\$\{([^}]+)\}")
_LARGEST = 1 << 20
"""Bytes of a file."""
_READ_WITHIN = 60.0
"""Seconds for one file; a network file system may hang."""
_DEEPEST = 20
"""Files that include each other."""
_LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|localhost):")
_MPM = re.compile(r"!?(?:mpm_(\w+)_module|(prefork|worker|event)\.c)$")
_GLOBAL = "%{GLOBAL}"
_KNOWN_IDS = ("user", "group")
"""Directives that name somebody whom Apache looks for as it reads them."""
_SCRIPTS = ("wsgiscriptalias", "wsgiscriptaliasmatch")
_DEFAULTS: Mapping[Mpm, Mapping[str, int]] = {
    Mpm.PREFORK: {"startservers": 5, "maxspareservers": 10, "serverlimit": 256},
    Mpm.WORKER: {"startservers": 3, "maxsparethreads": 250, "serverlimit": 16},
    Mpm.EVENT: {"startservers": 3, "maxsparethreads": 250, "serverlimit": 16},
}
"""Apache's defaults (httpd docs, "MPM Directives")."""


class OwnConf(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration file of the user's, and what it says."""

    path: Path
    variables: Mapping[str, str] = {}
    """The variables that it names, with their values."""
    digest: str
    """The digest of the file and of all that it includes."""
    ports: tuple[int, ...]
    """Where it listens; 0 is a port that is chosen for it."""
    mode: Mode
    mpm: Mpm
    interpreter: InterpreterKind
    loading: Loading
    processes: int
    min_processes: int = 0
    """Processes without load; 0: as many as always."""
    threads: int
    maximum_requests: int = 0

    def url(self, given: str, port: int) -> str:
        """Return a URL, of which a path, or a URL without a port, is enough.

        ``port`` is the one that was chosen. Raises :class:`UsageError` for one that it does not
        listen on.
        """
        listening = [one or port for one in self.ports]
        match = re.fullmatch(r"(?:http://([^/:?#]+)(?::(\d+))?)?(/[^#]*)", given)
        if match is None:
            raise UsageError(f"--url {given}: give a path, such as /shop, or http://HOST:PORT/PATH")
        host, named, path = match.groups()
        if named and int(named) not in listening:
            raise UsageError(
                f"--url {given}: {self.path} listens on port {', '.join(map(str, listening))}"
            )
        return f"http://{host or 'localhost'}:{named or listening[0]}{path}"


def read_own_conf(path: Path, environment: Mapping[str, str], account: Account) -> OwnConf:
    """Read a file and what it includes. ``environment`` has the values of its variables.

    The server runs as ``account``, which has to be able to read them. Raises :class:`UsageError`
    for a file that can't be run as it is.
    """
    return _Reader(path, environment, account).read()


class _Line(msgspec.Struct, frozen=True):
    """A directive: its name in lower case, its arguments, and where it is."""

    name: str
    words: tuple[str, ...]
    where: str
    in_host: bool
    """Whether it is inside of a virtual host."""

    def refuse(self, why: str) -> UsageError:
        return UsageError(f"{self.where}: {why}")

    def number(self) -> int:
        """Return its first argument. Raises :class:`UsageError` if that is no number."""
        if not self.words or not self.words[0].isdigit():
            raise self.refuse(f"{self.name} takes a number")
        return int(self.words[0])

    def options(self) -> dict[str, str]:
        """Return its arguments of the form ``name=value``."""
        return dict(word.split("=", 1) for word in self.words if "=" in word)


class _Reader:
    def __init__(self, path: Path, environment: Mapping[str, str], account: Account) -> None:
        self._path = path
        self._environment = environment
        self._account = account
        self._digest = hashlib.sha256()
        self._defined: dict[str, str] = {}
        self._used: dict[str, str] = {}
        self._root = Path()
        self._mpm = Mpm.PREFORK
        self._in_host = False
        self._depth = 0

    def read(self) -> OwnConf:
        lines = list(self._lines(self._path))
        ports = tuple(_port(line) for line in lines if line.name == "listen")
        if not ports:
            raise UsageError(f"{self._path}: it has no Listen")
        for line in lines:
            if line.name == "errorlog" and line.in_host:
                raise line.refuse("a virtual host with an ErrorLog of its own hides what it logs")
        daemons = {line.words[0]: line for line in lines if line.name == "wsgidaemonprocess"}
        used = _groups(lines)
        daemon = daemons and used != {_GLOBAL}
        pool = _daemon_pool(daemons, used) if daemon else self._embedded_pool(lines)
        return OwnConf(
            path=self._path,
            variables=self._used,
            digest=self._digest.hexdigest(),
            ports=ports,
            mode=Mode.DAEMON if daemon else Mode.EMBEDDED,
            mpm=self._mpm,
            interpreter=_interpreter(lines),
            loading=_loading(lines),
            **pool,
        )

    def _lines(self, path: Path) -> Iterator[_Line]:
        """Yield the directives of a file, and of those that it includes in their places."""
        content = _content(path, self._account)
        self._digest.update(content.encode())
        skipped = 0
        """How many sections around a line are not for this server."""
        for number, text in _joined(content):
            where = f"{path}:{number}"
            if section := re.fullmatch(r"<(/?)(\w+)\s*(.*?)>?", text):
                closing, name, argument = section.groups()
                if skipped or (not closing and self._skips(name.lower(), argument)):
                    skipped += -1 if closing else 1
                elif name.lower() == "virtualhost":
                    self._in_host = not closing
                continue
            if skipped:
                continue
            name, _, rest = text.partition(" ")
            line = _Line(name.lower(), self._words(rest, where), where, self._in_host)
            yield from self._read(line)

    def _skips(self, name: str, argument: str) -> bool:
        """Return whether a section is not for this server. Of modules, only the MPM is known."""
        wanted = not argument.startswith("!")
        if name == "ifdefine":
            return (argument.lstrip("!") in self._defined) is not wanted
        mpm = _MPM.match(argument) if name == "ifmodule" else None
        return mpm is not None and ((mpm[1] or mpm[2]) == self._mpm) is not wanted

    def _read(self, line: _Line) -> Iterator[_Line]:
        name, words = line.name, line.words
        if name == "define" and words:
            self._defined[words[0]] = words[1] if len(words) > 1 else ""
        elif name == "undefine" and words:
            self._defined.pop(words[0], None)
        elif name == "serverroot" and words:
            self._root = Path(words[0])
            if not os.path.isdir(self._root):  # noqa: PTH112 - False where nobody may look
                raise line.refuse(
                    f"this machine has no directory {words[0]}: Apache needs its ServerRoot"
                )
        elif name == "loadmodule" and words and (mpm := _MPM.match(words[0])):
            self._mpm = _mpm(mpm[1], line)
        elif name in ("include", "includeoptional") and words:
            yield from self._included(line)
        elif name in _KNOWN_IDS and words and not _is_known(name, words[0]):
            raise line.refuse(
                f"this machine has no {name} '{words[0]}': Apache looks for it, although the "
                f"server runs as '{self._account.name}'"
            )
        elif name == "use":
            raise line.refuse("what a macro says can't be read: write its directives out")
        else:
            yield line

    def _included(self, line: _Line) -> Iterator[_Line]:
        pattern = str(self._root / line.words[0])
        paths = sorted(map(Path, glob.glob(pattern)))  # noqa: PTH207 - an absolute pattern
        if not paths and line.name == "include" and not glob.has_magic(pattern):
            raise line.refuse(f"there is no {pattern}")
        for path in paths:
            files = sorted(one for one in path.rglob("*") if one.is_file())
            for file in files if path.is_dir() else [path]:
                if self._depth == _DEEPEST:
                    raise line.refuse(f"more than {_DEEPEST} files include each other")
                self._depth += 1
                yield from self._lines(file)
                self._depth -= 1

    def _words(self, text: str, where: str) -> tuple[str, ...]:
        """Return the arguments of a directive, without quotes and with the values of variables."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in self._defined:
                return self._defined[name]
            if name in _GIVEN:
                return "0" if name == PORT else match[0]
            if name not in self._environment:
                raise UsageError(f"{where}: ${{{name}}} has no value: export the variable {name}")
            self._used[name] = self._environment[name]
            return self._used[name]

        replaced = _VARIABLE.sub(value, text)
        try:
            lexer = shlex.shlex(replaced, posix=True, punctuation_chars=False)
            lexer.whitespace_split = True
            lexer.commenters = ""
            lexer.escapedquotes = "\"'"
            return tuple(lexer)
        except ValueError:  # such as a quote that is not closed, in what Apache takes as it is
            return tuple(replaced.split())

    def _embedded_pool(self, lines: list[_Line]) -> dict[str, int]:
        """Return how many of Apache's children there are, and threads in each."""
        said = {"threadsperchild": 25, **_DEFAULTS[self._mpm]}
        names = {*said, "maxrequestworkers", "maxclients", "maxconnectionsperchild"}
        said |= {line.name: line.number() for line in lines if line.name in names}
        threads = 1 if self._mpm is Mpm.PREFORK else said["threadsperchild"]
        workers = said.get("maxrequestworkers", said["serverlimit"] * threads)
        workers = said.get("maxclients", workers)  # its name before Apache 2.4
        most = max(1, min(said["serverlimit"], workers // threads))
        # With more that are idle, Apache ends some.
        idle = said.get("maxspareservers", 0) or said["maxsparethreads"] // threads
        least = min(said["startservers"], max(1, idle), most)
        return {
            "processes": most,
            "min_processes": least if least < most else 0,
            "threads": threads,
            "maximum_requests": said.get("maxconnectionsperchild", 0),
        }


def _content(path: Path, account: Account) -> str:
    """Return the content of a file that ``account`` can read. Root does not read it: the file that
    includes it may be less trusted."""
    if not path.is_file():
        raise UsageError(f"--httpd-conf {path}: there is no such file")
    if not account.dropped:
        try:
            return read_file(path, _LARGEST, follow=True).decode()
        except OSError as error:
            raise UsageError(f"--httpd-conf {path}: {describe(error)}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"--httpd-conf {path}: it is not UTF-8") from error
    if blocked := account.cannot_reach(path):
        raise UsageError(
            f"--httpd-conf {path}: '{account.name}', as which the whole server runs, can't read "
            f"{blocked}"
        )
    done = run_unguarded(
        ["/usr/bin/head", "-c", str(_LARGEST), "--", str(path)],
        deadline=_READ_WITHIN,
        env={},
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
    )
    if done.returncode:
        raise UsageError(f"--httpd-conf {path}: '{account.name}' can't read it")
    return done.output


def _joined(content: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers, without comments; a line that ends with a
    backslash goes on in the next one."""
    begun = ""
    for number, line in enumerate(content.splitlines(), 1):
        begun += line
        if begun.endswith("\\"):
            begun = begun[:-1]
            continue
        if (whole := re.sub(r"\s+", " ", begun).strip()) and not whole.startswith("#"):
            yield number, whole
        begun = ""


def _is_known(kind: str, name: str) -> bool:
    """Return whether this machine has a user or a group; a number is always taken."""
    if name.startswith("#"):
        return True
    with suppress(KeyError):
        return bool(pwd.getpwnam(name) if kind == "user" else grp.getgrnam(name))
    return False


def _port(line: _Line) -> int:
    """Return the port of a Listen. Raises :class:`UsageError` if other machines can reach it."""
    address = line.words[0] if line.words else ""
    if not _LOOPBACK.match(address):
        raise line.refuse(
            f"'Listen {address}' may be open to other machines: write 'Listen 127.0.0.1:PORT'"
        )
    port = address.rpartition(":")[2]
    if not port.isdigit() or not 0 <= int(port) < 1 << 16:
        raise line.refuse(f"'Listen {address}' has no port")
    return int(port)


def _mpm(name: str | None, line: _Line) -> Mpm:
    if name not in tuple(Mpm):
        raise line.refuse(f"wsgiproof knows no MPM '{name}'")
    return Mpm(name)


def _groups(lines: list[_Line]) -> set[str]:
    """Return the process groups that the application is given to."""
    named = [line.words[0] for line in lines if line.name == "wsgiprocessgroup" and line.words]
    of_scripts = (line.options() for line in lines if line.name in _SCRIPTS)
    named += [one["process-group"] for one in of_scripts if "process-group" in one]
    return {*named} or {_GLOBAL}


def _daemon_pool(daemons: Mapping[str, _Line], used: set[str]) -> dict[str, int]:
    """Return how many processes there are, and threads in each, of the largest group in use."""
    options = [line.options() for name, line in daemons.items() if name in used]
    options = options or [line.options() for line in daemons.values()]

    def most(name: str, usual: int) -> int:
        given = [one.get(name, "") for one in options]
        return max(int(text) if text.isdigit() else usual for text in given)

    return {
        "processes": most("processes", 1),
        "threads": most("threads", DAEMON_THREADS),
        "maximum_requests": most("maximum-requests", 0),
    }


def _interpreter(lines: list[_Line]) -> InterpreterKind:
    switches = {line.name for line in lines if [word.lower() for word in line.words] == ["on"]}
    if "wsgiperinterpretergil" in switches:
        return InterpreterKind.OWN_GIL
    if "wsgifreethreading" in switches:
        return InterpreterKind.FREE_THREADED
    groups = [line.words[0] for line in lines if line.name == "wsgiapplicationgroup" and line.words]
    scripts = [line.options() for line in lines if line.name in _SCRIPTS]
    groups += [one["application-group"] for one in scripts if "application-group" in one]
    main = bool(groups) and {*groups} == {_GLOBAL}
    return InterpreterKind.MAIN if main else InterpreterKind.SHARED_GIL


def _loading(lines: list[_Line]) -> Loading:
    """Return when the scripts are loaded: with both groups in its line, when a process starts."""
    both = {"process-group", "application-group"}
    scripts = [line.options().keys() for line in lines if line.name in _SCRIPTS]
    eager = bool(scripts) and all(both <= {*names} for names in scripts)
    return Loading.EAGER if eager else Loading.LAZY
