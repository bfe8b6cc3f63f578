"""A package as a subject, used by the application that ``--app`` names.

It has no versions, no database and no checks of its own. Without ``--app`` the application does
nothing, which shows what Apache, mod_wsgi and Python do alone.
"""

from __future__ import annotations

from pathlib import Path

from wsgiproof.subjects.base import Subject


class Package(Subject):
    """What an application imports, and nothing else."""

    name = "package"
    title = "the package"
    agent = Path(__file__).with_name("agent")


PACKAGE = Package()
