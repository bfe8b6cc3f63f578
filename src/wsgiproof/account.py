"""The account that Apache's children run as, and what it can reach.

Apache started by root serves as an unprivileged user (httpd docs, mod_unixd, ``User``). Started by
anyone else, it serves as whoever started it.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import msgspec

from wsgiproof.errors import NeedMissing
from wsgiproof.process import ask

_CANDIDATES = ("www-data", "apache", "httpd", "nobody")
"""Debian's, Fedora's, and the names that other systems use, best first."""
_DEADLINE = 20.0
"""Seconds to look at a file; a network file system may hang."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user and its group. ``dropped`` says that it is not the one that runs wsgiproof."""

    name: str
    group: str
    uid: int
    gid: int
    dropped: bool

    def cannot_reach(self, path: Path) -> str:
        """The first directory on the way to ``path`` that keeps this account out, or empty."""
        path = path.resolve()
        if not self.dropped or self._may(path, "-r"):
            return ""
        for step in (*reversed(path.parents), path):
            if not self._may(step, "-x" if step.is_dir() else "-r"):
                return str(step)
        return str(path)

    def cannot_enter(self, directory: Path) -> str:
        """The first directory on the way to ``directory``, itself included, that this account can't
        enter, or empty."""
        directory = directory.resolve()
        if not self.dropped or self._may(directory, "-x"):
            return ""
        steps = (*reversed(directory.parents), directory)
        return next((str(step) for step in steps if not self._may(step, "-x")), str(directory))

    @property
    def ids(self) -> tuple[int, int]:
        """Its user and group as for chown(2): -1 each, which changes nothing, where it is the one
        that runs wsgiproof."""
        return (self.uid, self.gid) if self.dropped else (-1, -1)

    def _may(self, path: Path, how: str) -> bool:
        # Asked of the kernel as that user, since mode bits alone know nothing of ACLs.
        # That user reads the environment of its processes: there is nothing in this one's.
        answer = ask(
            ["/usr/bin/test", how, path],
            deadline=_DEADLINE,
            env={},
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
        )
        return answer.returncode == 0


def server_account() -> Account:
    """Who Apache's children will be. Raises :class:`NeedMissing` if root has nobody to drop to."""
    if os.geteuid() != 0:
        return _account(pwd.getpwuid(os.geteuid()), dropped=False)
    for name in _CANDIDATES:
        try:
            return _account(pwd.getpwnam(name), dropped=True)
        except KeyError:
            continue
    raise NeedMissing(
        f"none of the users {', '.join(_CANDIDATES)} exists for Apache to drop to; "
        "create one ('useradd --system www-data') or run wsgiproof as an ordinary user"
    )


def _account(entry: pwd.struct_passwd, *, dropped: bool) -> Account:
    return Account(
        name=entry.pw_name,
        group=grp.getgrgid(entry.pw_gid).gr_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        dropped=dropped,
    )
