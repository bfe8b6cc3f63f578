"""The accounts that Apache's children and wsgiproof's databases run as, and what they can reach.

If root starts Apache, its children run as an unprivileged user (httpd docs, mod_unixd, ``User``).
If another user starts it, they run as that user.
"""

from __future__ import annotations

import grp
import os
import pwd
import random
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from wsgiproof.errors import PrerequisiteMissing
from wsgiproof.ownership import is_mapped
from wsgiproof.process.commands import run_unguarded

_CANDIDATES = ("www-data", "apache", "httpd", "nobody")
"""The names on Debian, Fedora and other systems, best first."""
_DYNAMIC = range(61184, 65520)
"""Ids without permanent accounts: systemd assigns them to services (systemd docs, "Users, Groups,
UIDs and GIDs on systemd Systems")."""
_DEADLINE = 20.0
"""Seconds to test access to a file; a network file system may hang."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user and its group. ``dropped`` is true if it is not the user who runs wsgiproof."""

    name: str
    group: str
    uid: int
    gid: int
    dropped: bool

    def cannot_reach(self, path: Path) -> str:
        """Return what keeps this account from reading ``path``: the first directory on the way that
        it can't enter, or ``path`` itself; empty if it can read it."""
        path = path.resolve()
        if not self.dropped or self._has_access(path, "-r"):
            return ""
        for step in (*reversed(path.parents), path):
            if not self._has_access(step, "-x" if step.is_dir() else "-r"):
                return str(step)
        return str(path)

    def cannot_enter(self, directory: Path) -> str:
        """Return the first directory on the way to ``directory``, which is included, that this
        account can't enter; empty if it can enter it."""
        directory = directory.resolve()
        if not self.dropped or self._has_access(directory, "-x"):
            return ""
        steps = (*reversed(directory.parents), directory)
        blocked = (str(step) for step in steps if not self._has_access(step, "-x"))
        return next(blocked, str(directory))

    @property
    def ids(self) -> tuple[int, int]:
        """The user and group for chown(2): -1 each, which changes nothing, if this user runs
        wsgiproof."""
        return (self.uid, self.gid) if self.dropped else (-1, -1)

    def _has_access(self, path: Path, test: str) -> bool:
        # The kernel checks it for that user, since mode bits alone do not include ACLs. The
        # environment is empty, since that user can read it.
        done = run_unguarded(
            ["/usr/bin/test", test, path],
            deadline=_DEADLINE,
            env={},
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
        )
        return done.returncode == 0


def server_account() -> Account:
    """Return the account of Apache's children. Raises :class:`PrerequisiteMissing` if root has no
    account to drop to."""
    if os.geteuid() != 0:
        return _account(os.geteuid(), os.getegid(), dropped=False)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _account(entry.pw_uid, entry.pw_gid, dropped=True)
    raise PrerequisiteMissing(
        f"none of the users {', '.join(_CANDIDATES)} exists for Apache to drop to; "
        "create one ('useradd --system www-data') or run wsgiproof as an ordinary user"
    )


def database_account() -> Account:
    """Return the account of wsgiproof's own databases. With root, that is an otherwise unused user.

    So the application under test, which runs as :func:`server_account`, can neither end a database
    nor read its key. If this user namespace has no such ids, it is :func:`server_account` as well.
    Raises as :func:`server_account`.
    """
    return unused_accounts(1)[0]


def unused_accounts(number: int) -> tuple[Account, ...]:
    """Return ``number`` accounts that can't reach each other's processes and files.

    With root these are users that nothing else runs as. They are drawn at random, so that another
    run that needs one at the same time, or before these have a process, gets another one. If there
    are not so many in this user namespace, or without root, all of them are :func:`server_account`.
    Raises as that.
    """
    if os.geteuid() != 0:
        return (server_account(),) * number
    taken = {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}
    taken |= _users_of_processes()
    free = (id for id in random.sample(_DYNAMIC, len(_DYNAMIC)) if id not in taken)
    mapped = (id for id in free if all(is_mapped(id, kind) for kind in ("uid", "gid")))
    ids = tuple(islice(mapped, number))
    if len(ids) < number:
        return (server_account(),) * number
    return tuple(Account(name=str(id), group=str(id), uid=id, gid=id, dropped=True) for id in ids)


def _users_of_processes() -> set[int]:
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # it has ended
                found.add(process.stat().st_uid)
    return found


def _account(uid: int, gid: int, *, dropped: bool) -> Account:
    """Return the account with these ids. A container may run with ids that no entry names; then the
    numbers are the names."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return Account(name=name, group=group, uid=uid, gid=gid, dropped=dropped)
