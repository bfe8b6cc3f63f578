"""Sources from a git repository: ``git+https://HOST/PATH@REF``, as pip writes them.

A repository may be hostile. git runs as an unprivileged user that nothing else runs as if wsgiproof
is root, without the configuration of anybody, without hooks, filters and prompts, and with limits
of time and size. It checks nothing out: what it gives is a tar archive of one commit, which is
unpacked as any other archive is. Only the build of that runs code of the repository.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Mapping
from functools import cache as remembered
from pathlib import Path

import msgspec

from wsgiproof.errors import (
    BuildFailed,
    CannotRun,
    PrerequisiteMissing,
    UsageError,
    describe,
    one_line,
)
from wsgiproof.files import Directory, read_file, write_atomically
from wsgiproof.process.account import Account, unused_accounts
from wsgiproof.process.commands import Completed, run
from wsgiproof.process.environ import child_environment
from wsgiproof.process.leftovers import temporary_directory
from wsgiproof.provision.cache import Cache
from wsgiproof.records.cell import GIT

_URL = re.compile(
    r"(?P<url>https://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._~/-]+)(?:@(?P<ref>[A-Za-z0-9][^@]*))?"
)
_REF = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9+_-]|[./](?=[A-Za-z0-9+_-]))*")
"""A branch, a tag or a commit; a part of what git allows (git-check-ref-format(1))."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOOKUP_DEADLINE = 60.0
_FETCH_DEADLINE = 900.0
"""Seconds; one commit of a large project takes less than 20, and its whole history some minutes."""
_LARGEST_ANSWER = 4 << 20
_LARGEST = 512 << 20
"""Bytes of a pack, and of an archive."""
_MOST_MEMORY = 4 << 30
"""Bytes of each process of git."""
_DOWNLOAD = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)
"""Of the variables for downloads, what git reads as well."""
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "credential.helper": "",
    "gc.auto": "0",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "maintenance.auto": "false",
}
_looking_up = threading.Lock()
_ARCHIVE, _CERTIFICATES = "source.tar", "certificates.pem"


class GitSource(msgspec.Struct, frozen=True, kw_only=True):
    """A commit of a repository."""

    url: str
    """As in the option: with ``git+``, without the commit."""
    commit: str
    archive: Path
    """The files of the commit, in the build cache."""


def is_git(requested: str) -> bool:
    """Whether this names a git repository."""
    return requested.startswith(GIT)


def exact_commit(url: str, commit: str) -> str:
    """Return the value that names a commit of a repository."""
    return f"{url}@{commit}"


def fetch_source(requested: str, cache: Cache) -> GitSource:
    """Return the commit that ``requested`` means now, with its files.

    A branch or a tag is looked up once for each run. Raises :class:`UsageError` for what is no
    repository or no commit of it, :class:`PrerequisiteMissing` without git, and :class:`CannotRun`
    if the server does not answer.
    """
    url, ref = _parsed(requested)
    with _looking_up:  # for several Pythons at once, it still means one commit
        commit = ref if _COMMIT.fullmatch(ref) else _look_up(url, ref)
    name = re.sub(r"\.git$", "", url.rstrip("/")).rpartition("/")[2]
    file = f"{name}-{commit[:12]}.tar"

    def make(entry: Path) -> None:
        content = _archive_of(url, commit, f"{name}-{commit[:12]}/")
        write_atomically(content, entry / file, 0o644)

    entry = cache.entry("source", {"version": name, "url": url, "commit": commit}, make)
    return GitSource(url=GIT + url, commit=commit, archive=entry / file)


def _parsed(requested: str) -> tuple[str, str]:
    """Return the URL and the branch, tag or commit; that is ``HEAD`` if it is not given."""
    found = _URL.fullmatch(requested.removeprefix(GIT))
    ref = (found["ref"] or "HEAD") if found else ""
    if found is None or not _REF.fullmatch(ref) or ref.endswith(".lock"):
        shown = re.sub(r"//[^/]*@", "//...@", requested)  # it may hold a password
        raise UsageError(
            f"{shown} is not a git repository: give git+https://HOST/PATH, or with a branch, a "
            "tag or a whole commit git+https://HOST/PATH@REF, without a user or a password"
        )
    return found["url"], ref


@remembered
def _look_up(url: str, ref: str) -> str:
    """Return the commit of a branch, or else of a tag."""
    names = ["HEAD"] if ref == "HEAD" else [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}"]
    names += [] if ref == "HEAD" else [f"refs/tags/{ref}"]
    with temporary_directory() as scratch:
        git = _Git(scratch)
        done = git.run(
            "ls-remote", "--quiet", url, *names, deadline=_LOOKUP_DEADLINE, largest=_LARGEST_ANSWER
        )
    if done.returncode != 0:
        raise CannotRun(f"{url} can't be read: {_error_of(done)}")
    commits = {
        name: commit
        for commit, _, name in (line.partition("\t") for line in done.output.splitlines())
        if _COMMIT.fullmatch(commit)
    }
    for name in names:
        if name in commits:
            return commits[name]
    raise UsageError(f"{url} has no branch and no tag {ref}; of a commit, give all 40 digits")


def _archive_of(url: str, commit: str, prefix: str) -> bytes:
    """Return a tar archive of the files of a commit, which are in the directory ``prefix``."""
    with temporary_directory() as scratch:
        git = _Git(scratch)
        git.checked("init", "--quiet", "--bare", ".")
        fetch = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules")
        done = git.run(*fetch, "--depth", "1", url, commit, deadline=_FETCH_DEADLINE)
        if done.returncode != 0:  # not every server gives a commit by its name
            every = "+refs/*:refs/*"
            done = git.run(*fetch, url, every, deadline=_FETCH_DEADLINE)
        if done.returncode != 0:
            raise CannotRun(f"{url} can't be fetched: {_error_of(done)}")
        there = git.run("cat-file", "-e", f"{commit}^{{commit}}")
        if there.returncode != 0:
            raise UsageError(f"{url} has no commit {commit}")
        git.checked("archive", f"--prefix={prefix}", f"--output={_ARCHIVE}", commit)
        return git.read(_ARCHIVE)


class _Git:
    """Runs git in a directory of its own."""

    def __init__(self, scratch: Path) -> None:
        found = shutil.which("git")
        if found is None:
            raise PrerequisiteMissing(
                "git is needed for a source git+https://...: on Debian 'apt-get install git'"
            )
        self._program = found
        self._account: Account = unused_accounts(1)[0]
        self._scratch = scratch
        scratch.chmod(0o711)
        uid, gid = self._account.ids
        with Directory(scratch) as directory:
            directory.make("repository", owner=uid, group=gid).close()
            if certificates := _certificates():
                directory.write(_CERTIFICATES, certificates, 0o644)

    def run(
        self, *arguments: str, deadline: float = _LOOKUP_DEADLINE, largest: int = _LARGEST
    ) -> Completed:
        """Run git; no file that it writes may have more than ``largest`` bytes."""
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        place = self._scratch / "repository"
        return run(
            [self._program, *settings, *arguments],
            deadline=deadline,
            env=self._environment(),
            cwd=place,
            user=(self._account.uid, self._account.gid) if self._account.dropped else None,
            limits={"file": largest, "data": _MOST_MEMORY},
        )

    def _environment(self) -> Mapping[str, str]:
        """Return the variables of git: nobody's configuration counts, and nothing is asked."""
        trusted = self._scratch / _CERTIFICATES
        return {
            **child_environment(_DOWNLOAD),
            **({"GIT_SSL_CAINFO": str(trusted)} if trusted.exists() else {}),
            "HOME": str(self._scratch / "repository"),
            "LC_ALL": "C.UTF-8",
            "GIT_ALLOW_PROTOCOL": "https",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }

    def checked(self, *arguments: str) -> None:
        """Run git. Raises :class:`BuildFailed` if it fails."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise BuildFailed(f"'git {arguments[0]}' failed: {_error_of(done)}")

    def read(self, name: str) -> bytes:
        """Return the content of a file that git has written."""
        try:
            with Directory(self._scratch) as scratch, scratch.below("repository") as repository:
                return repository.read(name, _LARGEST)
        except OSError as error:
            raise BuildFailed(f"git has left no archive: {error.strerror}") from error


def _certificates() -> bytes:
    """Return what the user trusts in place of the system's authorities; empty if that is nothing.
    The user of git may not be able to read the file."""
    path = os.environ.get("SSL_CERT_FILE")
    if not path:
        return b""
    try:
        return read_file(path, _LARGEST_ANSWER, follow=True)
    except OSError as error:
        raise UsageError(f"SSL_CERT_FILE: {describe(error)}") from error


def _error_of(done: Completed) -> str:
    lines = [line for line in done.output.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines[-1:]
    return one_line(told[0])[:300] if told else f"it ended with {done.returncode}"
