"""PyMongo as a subject."""

from __future__ import annotations

from pathlib import Path

from wsgiproof.subjects.base import Subject


class PyMongo(Subject):
    """The driver, with its C extensions, against a MongoDB deployment or without one."""

    name = "pymongo"
    title = "PyMongo"
    agent = Path(__file__).with_name("agent")


PYMONGO = PyMongo()
