"""The import rules of the design: down the table of layers only, typing-only imports included."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsgiproof

ROOT = Path(wsgiproof.__file__).parent
SOURCES = sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.wsgi")])

LAYERS = {
    "": 0,  # wsgiproof itself: its version
    "limits": 0,
    "errors": 1,
    "files": 2,
    "ownership": 3,
    "process": 4,
    "records": 5,
    "provision": 6,
    "server": 7,
    "load": 7,
    "observe": 8,
    "judge": 8,
    "subjects": 9,
    "experiment": 10,
    "config": 10,
    "analysis": 10,
    "audit": 10,
    "report": 11,
    "run": 12,
    "cli": 13,
    "__main__": 14,
}
"""The layer of each module, or package, right below ``wsgiproof``. Imports go down only."""
ONLY = {
    "judge": ("errors", "records"),
    "analysis": ("", "errors", "files", "records", "judge"),
    "report": ("errors", "files", "records", "provision.toolchain", "judge", "analysis"),
}
"""What a unit may import, if that is less than all below it: they read records and nothing else."""
READ_AND_WRITE = ("records.reading", "records.writing")
NEVER = dict.fromkeys(("judge", "report"), READ_AND_WRITE)
"""What they may not import of that: these read and write files."""
STANDARD_ONLY = re.compile(r"(process\.guard|audit\.probe)(?:\.|$)")
"""A module, or a package, that imports the standard library and itself."""
INSIDE = "agent"
PROTOCOL = "wsgiproof.agent.protocol"
SPEAK_WITH_INSIDE = {"observe", "experiment"}
"""The units that may import the protocol, and nothing else of the agent."""
SUBJECTS = {"pymongo": {"pymongo", "bson", "gridfs"}}
"""What the part of the agent that belongs to a subject may import of it."""
SERVER = {"mod_wsgi", "apache"}
OTHER_PYTHONS = {"thread", "urlparse", "_xxsubinterpreters", "_interpreters"}
"""Of the standard library before or after the Python that runs this test."""
INSIDE_MAY = {*sys.stdlib_module_names, *OTHER_PYTHONS, *SERVER, "wsgiproof_agent", ""}
OF_A_SUBJECT = re.compile(r"subjects\.(\w+)\.agent(?:\.|$)")
"""A module of the agent that belongs to a subject."""


def breaches(module: str, source: str) -> list[str]:
    """What ``source`` imports and may not, if it were module ``module`` (``judge.leaks``)."""
    unit = module.partition(".")[0]
    found = list(_imports(module, ast.parse(source)))
    if _is_inside(module):
        owner = OF_A_SUBJECT.match(module)
        may = INSIDE_MAY | (SUBJECTS.get(owner[1], set()) if owner else set())
        return [name for name in found if name.partition(".")[0] not in may]
    if alone := STANDARD_ONLY.match(module):
        may = {*sys.stdlib_module_names, *OTHER_PYTHONS}
        others = [name for name in found if name.partition(".")[0] not in may]
        return [name for name in others if not _is_in(name, f"wsgiproof.{alone[1]}")]
    if unit not in LAYERS:
        return [f"{unit} is in no layer"]
    ours = [name for name in found if name.partition(".")[0] == "wsgiproof"]
    inside = [name for name in ours if OF_A_SUBJECT.match(name.removeprefix("wsgiproof."))]
    if inside:
        return inside
    if unit in SPEAK_WITH_INSIDE:
        ours = [name for name in ours if name != PROTOCOL]
    return [name for name in ours if not _allowed(unit, name.removeprefix("wsgiproof"))]


def _is_inside(module: str) -> bool:
    """Whether it runs inside Apache."""
    return module.partition(".")[0] == INSIDE or bool(OF_A_SUBJECT.match(module))


def _allowed(unit: str, name: str) -> bool:
    name = name.removeprefix(".")
    imported = name.partition(".")[0]
    if imported not in LAYERS:  # the agent, above all
        return False
    if imported == unit:
        return True
    if any(_is_in(name, one) for one in NEVER.get(unit, ())):
        return False
    if unit in ONLY:
        return any(_is_in(name, one) for one in ONLY[unit])
    return LAYERS[imported] < LAYERS[unit]


def _is_in(name: str, package: str) -> bool:
    return name == package or (bool(package) and name.startswith(f"{package}."))


def _imports(module: str, tree: ast.Module) -> Iterator[str]:
    """Full names of all imported modules, wherever in the file; of the agent's own, ``.name``.

    Inside Apache, the part of a subject is the package ``subject`` of the agent.
    """
    module = OF_A_SUBJECT.sub(f"{INSIDE}.subject.", module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            yield from (_target(base, alias.name) for alias in node.names)


def _base(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ["wsgiproof", *module.split(".")[: -node.level]]
    if package[:2] == ["wsgiproof", INSIDE]:
        return f".{node.module or ''}"
    return ".".join([*package, *([node.module] if node.module else [])])


def _target(base: str, name: str) -> str:
    """``from wsgiproof import cache`` means the module, ``from wsgiproof import x`` the package."""
    if f"{base}.{name}" == PROTOCOL:
        return PROTOCOL
    if base == "wsgiproof" and (name in LAYERS or name == INSIDE):
        return f"wsgiproof.{name}"
    if f"{base}.{name}".removeprefix("wsgiproof.") in READ_AND_WRITE:
        return f"{base}.{name}"
    return base


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_the_table_only(path: Path) -> None:
    assert breaches(name_of(path), path.read_text()) == []


def test_every_layer_is_found_in_the_package() -> None:
    units = {name_of(path).partition(".")[0] for path in SOURCES}
    assert set(LAYERS) <= units
    assert units - set(LAYERS) == {INSIDE}


@pytest.mark.parametrize(
    ("module", "source", "breach"),
    [
        ("errors", "from wsgiproof.records.cell import Cell", "wsgiproof.records.cell"),
        ("files", "from wsgiproof import ownership", "wsgiproof.ownership"),
        ("process.service", "from wsgiproof import records", "wsgiproof.records"),
        ("records.cell", "import wsgiproof.config", "wsgiproof.config"),
        ("provision.cache", "import wsgiproof.config.model", "wsgiproof.config.model"),
        ("provision.python", "from wsgiproof.server.ports import free_port",
         "wsgiproof.server.ports"),
        ("provision.python", "from ..server import ports", "wsgiproof.server"),
        ("server.apache", "from wsgiproof.config.model import Config", "wsgiproof.config.model"),
        ("load.engine", "from wsgiproof.server import apache", "wsgiproof.server"),
        ("config.model", "from wsgiproof.run.cell import Job", "wsgiproof.run.cell"),
        ("config.model", "from wsgiproof.experiment import load", "wsgiproof.experiment"),
        ("judge.leaks", "from wsgiproof.server.scratch import PREFIX", "wsgiproof.server.scratch"),
        ("judge.leaks", "from wsgiproof.observe.log import LogFollower", "wsgiproof.observe.log"),
        ("judge.leaks", "from wsgiproof.process import locks", "wsgiproof.process"),
        ("judge.leaks", "from wsgiproof.records import reading", "wsgiproof.records.reading"),
        ("report.text", "from wsgiproof.records import writing", "wsgiproof.records.writing"),
        ("judge.leaks", "from wsgiproof.report.terminal import printable",
         "wsgiproof.report.terminal"),
        ("analysis.trends", "from wsgiproof.report import text", "wsgiproof.report"),
        ("report.terminal", "from wsgiproof.process.spawn import run", "wsgiproof.process.spawn"),
        ("report.terminal", "from wsgiproof.provision import cache", "wsgiproof.provision"),
        ("experiment.phases", "from wsgiproof.run.preflight import Machine",
         "wsgiproof.run.preflight"),
        ("run.session", "from wsgiproof.cli import main", "wsgiproof.cli"),
        ("cli", "from wsgiproof import agent", "wsgiproof.agent"),
        ("subjects.application", "import wsgiproof.agent.app", "wsgiproof.agent.app"),
        ("judge.leaks", "from wsgiproof.agent import protocol", "wsgiproof.agent.protocol"),
        ("observe.answers", "from wsgiproof.agent import middleware", "wsgiproof.agent"),
        ("agent.app", "from wsgiproof.records.cell import Cell", "wsgiproof.records.cell"),
        ("agent.app", "from .. import errors", "wsgiproof.errors"),
        ("agent.app", "import msgspec", "msgspec"),
        ("agent.identity", "def late():\n    import pymongo", "pymongo"),
        ("agent.identity", "from bson import BSON", "bson"),
        ("subjects.pymongo.agent.store", "import msgspec", "msgspec"),
        ("subjects.pymongo.agent.store", "from wsgiproof.errors import CannotRun",
         "wsgiproof.errors"),
        ("subjects.pymongo.agent.store", "from ... import errors", "wsgiproof.errors"),
        ("subjects.sqlite3.agent.workload", "import pymongo", "pymongo"),
        ("subjects.pymongo.uri", "from wsgiproof.agent import probe", "wsgiproof.agent"),
        ("subjects.pymongo.subject", "from wsgiproof.subjects.pymongo.agent import store",
         "wsgiproof.subjects.pymongo.agent"),
        ("process.guard.watch", "import psutil", "psutil"),
        ("audit.probe", "import msgspec", "msgspec"),
        ("audit.session", "from wsgiproof.config.model import Config", "wsgiproof.config.model"),
        ("process.guard.main", "from wsgiproof.errors import CannotRun", "wsgiproof.errors"),
        ("process.guard.main", "from wsgiproof.process.spawn import spawn",
         "wsgiproof.process.spawn"),
        ("utilities", "import os", "utilities is in no layer"),
        ("errors",
         "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import wsgiproof.cli",
         "wsgiproof.cli"),
        ("errors", "def late():\n    from wsgiproof.cli import main", "wsgiproof.cli"),
        ("errors", "class A:\n    try:\n        from wsgiproof import run\n    except OSError: ...",
         "wsgiproof.run"),
    ],
)  # fmt: skip
def test_each_rule_can_be_broken(module: str, source: str, breach: str) -> None:
    assert breaches(module, source) == [breach]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("records.run", "from wsgiproof.records.cell import Cell"),
        ("config.matrix", "from wsgiproof.config.model import Config"),
        (
            "run.session",
            "from wsgiproof.run.cell import run_cell\nfrom wsgiproof import __version__",
        ),
        ("judge.verdict", "from wsgiproof.judge import leaks\nfrom . import answers"),
        ("judge.verdict", "from wsgiproof.records.run import CellRecord"),
        ("report.builds", "from wsgiproof.provision.toolchain import Entry"),
        ("server.apache", "import psutil\nfrom wsgiproof.process.service import Service"),
        ("agent.app", "import json, mod_wsgi\nfrom . import probe\nfrom .subject import workload"),
        (
            "subjects.pymongo.agent.store",
            "import json, bson\nfrom . import codec\nfrom .. import x",
        ),
        ("subjects.pymongo.agent.store", "from ..faults_base import NoFault"),
        ("subjects.pymongo.agent", "from . import codec"),
        ("observe.answers", "from wsgiproof.agent import protocol"),
        ("experiment.load", "from wsgiproof.agent.protocol import REPORT"),
        ("process.guard.kernel", "import ctypes"),
        ("process.guard.main", "from wsgiproof.process.guard.watch import Guard"),
    ],
)
def test_what_the_rules_allow(module: str, source: str) -> None:
    assert breaches(module, source) == []


# Types that threads read


def _prepares_a_type(node: ast.AST) -> bool:
    """Whether a call decodes or converts into a type that msgspec may have to prepare first."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    typed = any(keyword.arg == "type" for keyword in node.keywords)
    return node.func.attr == "convert" or (node.func.attr == "decode" and typed)


MAIN_THREAD_ONLY = {"analysis", "records", "config", "judge"}
"""Packages that only the main thread calls."""


def test_no_thread_prepares_a_type_of_msgspec() -> None:
    # msgspec 0.22.0 crashes if two threads use a type for the first time at once. "describe" is
    # called by threads, and prepares its type at import.
    found = {
        (path.relative_to(ROOT).parts[0], path.name)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if _prepares_a_type(node)
    }
    assert {one for one in found if one[0] not in MAIN_THREAD_ONLY} == {("provision", "python.py")}
