"""The axes of the matrix: those of every subject, and those that each subject adds.

Everything that concerns all axes reads this: the options, the keys of a file and their schema, the
matrix, the command that runs a cell again, and the names in reports.
"""

from __future__ import annotations

from collections.abc import Iterable

from wsgiproof.files import place
from wsgiproof.records.cell import MOD_WSGI_HTTPD, InterpreterKind, Loading, Mode, Mpm
from wsgiproof.subjects.axis import Axis, absolute
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.registry import SUBJECTS

PYTHON = Axis(
    name="python",
    title="Python",
    metavar="VERSION|PATH",
    help="The Python to embed: 3.12, 3.12.1, 3.13t, or a path.\n"
    "3.12 is the newest 3.12 on this machine; an environment stands for its base; "
    "'wsgiproof doctor --pythons' lists them. Default: the Python of wsgiproof, or else the first "
    "that mod_wsgi can embed.",
    about="The Pythons to embed: versions (3.12.1, 3.13t; 3.12 is the newest 3.12 on this "
    "machine), paths or commands of interpreters. Without it: the Python of wsgiproof, or else the "
    "first that mod_wsgi can embed.",
    example='["3.12", "3.13", "3.13t"]',
    absolute=absolute,
)
MOD_WSGI = Axis(
    name="mod_wsgi",
    title="mod_wsgi",
    metavar="VERSION|PATH",
    help="mod_wsgi: 5.0.2, 5 (the newest 5.x), latest, a path.\n"
    "A path is a .so, a source tree or its archive; git+https://HOST/PATH@BRANCH is a repository. "
    "Default: the .so that the environment variable "
    "MOD_WSGI_SO names, or latest.",
    about="mod_wsgi: versions (5.0.2; 5 is the newest 5.x), 'latest', a .so, a source tree, an "
    "archive of one, or git+https://HOST/PATH@BRANCH.",
    example='["latest"]',
    package="mod-wsgi",
    words=("latest",),
    absolute=absolute,
)
HTTPD = Axis(
    name="httpd",
    title="Apache",
    metavar="PATH",
    help=f"Apache's server: a path, or {MOD_WSGI_HTTPD}.\n"
    f"{MOD_WSGI_HTTPD} is the one that wsgiproof builds, once. Each brings the apxs beside it, and "
    "its own builds of mod_wsgi. Default: that of the apxs on PATH; without one, "
    f"{MOD_WSGI_HTTPD}.",
    about=f"Apache's servers: paths, or '{MOD_WSGI_HTTPD}', which wsgiproof builds. Without it: "
    "that of the apxs on PATH, or else the one that wsgiproof builds.",
    example=f'["/usr/sbin/apache2", "{MOD_WSGI_HTTPD}"]',
    words=(MOD_WSGI_HTTPD,),
    absolute=lambda value, directory: (
        place(value, directory) if value not in ("", MOD_WSGI_HTTPD) else value
    ),
    rare=True,
)
MODE = Axis(
    name="mode",
    metavar="NAME",
    help="daemon or embedded.\nThe modes of mod_wsgi.  [default: both]",
    about="Where mod_wsgi runs the application:",
    default=tuple(Mode),
    choices=tuple(Mode),
)
MPM = Axis(
    name="mpm",
    metavar="NAME",
    help="Apache's multi-processing module.\nprefork, worker or event.  [default: prefork]",
    about="Apache's multi-processing modules:",
    default=(Mpm.PREFORK,),
    choices=tuple(Mpm),
    rare=True,
)
INTERPRETER = Axis(
    name="interpreter",
    metavar="KIND",
    help="main, shared-gil, own-gil or free-threaded.\n"
    "own-gil needs Python 3.12, free-threaded a build such as 3.13t.  [default: shared-gil]",
    about="The kinds of interpreter that serve the application (own-gil: Python 3.12; "
    "free-threaded: 3.13t):",
    default=(InterpreterKind.SHARED_GIL,),
    choices=tuple(InterpreterKind),
)
LOADING = Axis(
    name="loading",
    metavar="NAME",
    help="eager or lazy: when a script is loaded.\n"
    "eager: by a process when it starts. lazy: by first requests that come at the same time, as in "
    "PyMongo's own test.  [default: eager]",
    about="When a script is loaded (eager: when a process starts; lazy: by the first requests):",
    default=(Loading.EAGER,),
    choices=tuple(Loading),
    rare=True,
)
_BEFORE, _AFTER = (PYTHON, MOD_WSGI, HTTPD), (MODE, MPM, INTERPRETER, LOADING)


def axes_of(subject: Subject) -> tuple[Axis, ...]:
    """Return the axes of a subject's matrix, in their order."""
    return (*_BEFORE, *subject.axes, *_AFTER)


def by_name(subjects: Iterable[Subject]) -> dict[str, Axis]:
    """Return every axis of these subjects by its name.

    Raises ValueError if two have the same name: an option and a key mean one thing.
    """
    axes = (*_BEFORE, *(axis for subject in subjects for axis in subject.axes), *_AFTER)
    found: dict[str, Axis] = {}
    for axis in axes:
        if axis.name in found:
            raise ValueError(f"there are two axes '{axis.name}'")
        found[axis.name] = axis
    return found


ALL_AXES = by_name(SUBJECTS.values())
"""Every axis of every subject by its name."""
NAMES: dict[str, Axis] = {axis.names: axis for axis in ALL_AXES.values() if axis.names}
"""The axes whose values may have names, by the key of the table in a file."""


def owner_of(axis: str) -> str:
    """Return the name of the subject that adds an axis; empty for one of all subjects."""
    owners = [name for name, one in SUBJECTS.items() if axis in {its.name for its in one.axes}]
    return owners[0] if owners else ""
