"""The places that a server does not share with other processes of its user.

A file in ``/tmp`` tells who owns it, and not which process made it. So each server has directories
of its own in place of ``/tmp``, ``/var/tmp`` and ``/dev/shm``, if root starts it and the kernel
allows it: what is in them is the server's. The services of Debian and Fedora have such a ``/tmp``
as well (``PrivateTmp=``, systemd.exec(5)). Each is on the file system of the place, with its owner
and mode.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wsgiproof.errors import CannotRun
from wsgiproof.ownership import replaceable_directory
from wsgiproof.process.guarded import PrivatePlaces
from wsgiproof.process.leftovers import temporary_directory

TEMPORARY = (Path("/tmp"), Path("/var/tmp"))
SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def private_places(
    visible: Iterable[Path],
    used: Iterable[Path] = (),
    places: Iterable[Path] = (*TEMPORARY, SHARED_MEMORY),
) -> Iterator[PrivatePlaces]:
    """Make directories that take the places of shared ones, and remove them with the context.

    The directories of ``visible`` can be seen there. A place that has a file of ``used`` in it
    stays as it is, and so does one in which no safe directory can be made.
    """
    seen = [path.resolve() for path in visible]
    kept = [form for path in used for form in (path.absolute(), path.resolve())]
    directories = {}
    with ExitStack() as stack:
        for place in places:
            below = [path for path in seen if path.is_relative_to(place)]
            if not any(path.is_relative_to(place) for path in kept):
                try:
                    directories[place] = stack.enter_context(_in_place_of(place, below))
                except (CannotRun, OSError):
                    continue
        yield PrivatePlaces(
            directories, [path for path in seen if any(map(path.is_relative_to, directories))]
        )


@contextmanager
def _in_place_of(place: Path, below: Iterable[Path]) -> Iterator[Path]:
    """Make an empty directory like ``place``, on the same file system, that only root can reach.
    It has an empty directory for each of ``below``, which are in ``place``."""
    if place.is_symlink() or replaceable_directory(place):
        raise CannotRun(f"{place} is not a directory in which only root can replace files")
    with temporary_directory(place) as scratch:
        directory = scratch / "place"
        directory.mkdir()
        _make_like(place, directory)
        for path in below:
            for step in (*reversed(path.relative_to(place).parents), path.relative_to(place)):
                if not (directory / step).exists():
                    (directory / step).mkdir()
                    _make_like(place / step, directory / step)
        yield directory


def _make_like(original: Path, directory: Path) -> None:
    status = original.stat()
    os.chown(directory, status.st_uid, status.st_gid)
    directory.chmod(stat.S_IMODE(status.st_mode))
