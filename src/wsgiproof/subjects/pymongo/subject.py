"""PyMongo as a subject."""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files
from pathlib import Path

from wsgiproof.judge.answers import roundtrip
from wsgiproof.judge.explain.catalog import read_entries
from wsgiproof.judge.rules import Rules
from wsgiproof.subjects.base import Subject
from wsgiproof.subjects.pymongo.resources import RESOURCES


class PyMongo(Subject):
    """The driver, with its C extensions, against a MongoDB deployment or without one."""

    name = "pymongo"
    title = "PyMongo"
    agent = Path(__file__).with_name("agent")

    @cached_property
    def rules(self) -> Rules:
        """Its own check is that of BSON values; what is counted is in the deployment."""
        return Rules(
            title=self.title,
            packages=("pymongo", "bson", "gridfs"),
            unserved="pymongo.errors.",
            checks={"roundtrip": roundtrip},
            resources=RESOURCES,
            entries=read_entries(files(__package__).joinpath("entries.toml")),
        )


PYMONGO = PyMongo()
