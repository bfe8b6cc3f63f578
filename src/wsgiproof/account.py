"""The accounts that the children of Apache and our databases run as, and what they can reach.

Apache started by root serves as an unprivileged user (httpd docs, mod_unixd, ``User``). Started by
anyone else, it serves as whoever started it.
"""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path

import msgspec

from wsgiproof.errors import NeedMissing
from wsgiproof.ownership import is_mapped
from wsgiproof.process import ask

_CANDIDATES = ("www-data", "apache", "httpd", "nobody")
"""Debian's, Fedora's, and the names that other systems use, best first."""
_DYNAMIC = range(61184, 65520)
"""Ids that no account has for long: systemd gives them to services (systemd docs, "Users, Groups,
UIDs and GIDs on systemd Systems")."""
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


def database_account() -> Account:
    """Who a database of ours runs as: started by root, a user of its own.

    The application under test, which runs as :func:`server_account`, can then neither end it nor
    read its key. Where a user namespace has no such ids, it is that account after all. Raises as
    :func:`server_account`.
    """
    if os.geteuid() != 0:
        return server_account()
    taken = {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}
    taken |= _users_of_processes()
    free = (id for id in _DYNAMIC if id not in taken)
    mapped = (id for id in free if all(is_mapped(id, kind) for kind in ("uid", "gid")))
    id = next(mapped, None)
    if id is None:
        return server_account()
    return Account(name=str(id), group=str(id), uid=id, gid=id, dropped=True)


def _users_of_processes() -> set[int]:
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # it is gone
                found.add(process.stat().st_uid)
    return found


def _account(entry: pwd.struct_passwd, *, dropped: bool) -> Account:
    return Account(
        name=entry.pw_name,
        group=grp.getgrgid(entry.pw_gid).gr_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        dropped=dropped,
    )
