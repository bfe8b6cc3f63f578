"""The import rules of the design: down the table of layers only, typing-only imports included."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsgiproof

ROOT = Path(wsgiproof.__file__).parent
SOURCES = sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.wsgi")])

LAYERS = {
    "": 0,  # wsgiproof itself: its version
    "errors": 0,
    "environ": 0,
    "files": 0,
    "ownership": 0,
    "manifest": 0,
    "limits": 0,
    "cell": 0,
    "records": 0,
    "toolchain": 0,
    "traffic": 0,
    "signals": 1,
    "spawn": 1,
    "cgroups": 1,
    "guard": 1,
    "leftovers": 1,
    "process": 1,
    "locks": 1,
    "cache": 1,
    "account": 1,
    "scratch": 1,
    "uri": 1,
    "results": 1,
    "requirements": 1,
    "config": 2,
    "configfile": 2,
    "matrix": 2,
    "subjects": 2,
    "build": 2,
    "services": 2,
    "load": 2,
    "observe": 2,
    "judge": 2,
    "report": 2,
    "experiment": 3,
    "preflight": 3,
    "resolve": 3,
    "runner": 4,
    "workers": 4,
    "planning": 4,
    "run": 4,
    "serve": 4,
    "rejudge": 4,
    "merge": 4,
    "prebuild": 4,
    "selftest": 4,
    "cli": 5,
    "__main__": 6,
}
"""The layer of each module, or package, right below ``wsgiproof``."""
NEIGHBOURS = {
    ("errors", ""),
    ("errors", "limits"),
    ("cell", ""),
    ("records", ""),
    ("records", "cell"),
    ("records", "errors"),
    ("records", "files"),
    ("files", "errors"),
    ("records", "traffic"),
    ("toolchain", "cell"),
    ("manifest", "files"),
    ("manifest", "ownership"),
    ("cache", "locks"),
    ("cache", "signals"),
    ("matrix", "config"),
    ("spawn", "signals"),
    ("spawn", "guard"),
    ("leftovers", "spawn"),
    ("leftovers", "cgroups"),
    ("leftovers", "guard"),
    ("leftovers", "cache"),
    ("process", "spawn"),
    ("process", "signals"),
    ("process", "guard"),
    ("process", "leftovers"),
    ("process", "cgroups"),
    ("account", "process"),
    ("scratch", "account"),
    ("scratch", "leftovers"),
    ("results", "locks"),
    ("scratch", "guard"),
    ("configfile", "config"),
    ("resolve", "preflight"),
    ("workers", "runner"),
    ("planning", "runner"),
    ("run", "runner"),
    ("run", "planning"),
    ("run", "workers"),
    ("prebuild", "planning"),
    ("serve", "runner"),
    ("serve", "planning"),
    ("selftest", "run"),
    ("selftest", "runner"),
    ("selftest", "planning"),
    ("selftest", "workers"),
    ("report", "judge"),
}
"""Who may import whom within a layer."""
LAYER_ZERO_ONLY = {"judge", "report"}
STANDARD_ONLY = {"guard"}
INSIDE = "inside"
PROTOCOL = "wsgiproof.inside.protocol"
SPEAK_WITH_INSIDE = {"observe", "experiment"}
"""The units that may import the protocol, and nothing else of inside."""
SUBJECT = {"pymongo", "bson", "gridfs"}
SERVER = {"mod_wsgi", "apache"}
OTHER_PYTHONS = {"thread", "urlparse", "_xxsubinterpreters", "_interpreters"}
"""Of the standard library before or after the Python that runs this test."""
INSIDE_MAY = {*sys.stdlib_module_names, *OTHER_PYTHONS, *SUBJECT, *SERVER, "wsgiproof_inside"}


def breaches(module: str, source: str) -> list[str]:
    """What ``source`` imports and may not, if it were module ``module`` (``judge.leaks``)."""
    unit = module.partition(".")[0]
    found = list(_imports(module, ast.parse(source)))
    if unit == INSIDE:
        return [name for name in found if name.partition(".")[0] not in INSIDE_MAY | {""}]
    if unit in STANDARD_ONLY:
        return [name for name in found if name.partition(".")[0] not in sys.stdlib_module_names]
    if unit not in LAYERS:
        return [f"{unit} is in no layer"]
    ours = [name for name in found if name.partition(".")[0] == "wsgiproof"]
    if unit in SPEAK_WITH_INSIDE:
        ours = [name for name in ours if name != PROTOCOL]
    return [name for name in ours if not _allowed(unit, _unit(name))]


def _allowed(unit: str, imported: str) -> bool:
    if imported not in LAYERS:  # inside, above all
        return False
    if imported == unit or (unit, imported) in NEIGHBOURS:
        return True
    if unit in LAYER_ZERO_ONLY:
        return LAYERS[imported] == 0
    return LAYERS[imported] < LAYERS[unit]


def _unit(name: str) -> str:
    return name.removeprefix("wsgiproof").removeprefix(".").partition(".")[0]


def _imports(module: str, tree: ast.Module) -> Iterator[str]:
    """Full names of all imported modules, wherever in the file; of inside's own, ``.name``."""
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
    if module.partition(".")[0] == INSIDE and package == ["wsgiproof", INSIDE]:
        return f".{node.module or ''}"
    return ".".join([*package, *([node.module] if node.module else [])])


def _target(base: str, name: str) -> str:
    """``from wsgiproof import cache`` means the module, ``from wsgiproof import x`` the package."""
    if f"{base}.{name}" == PROTOCOL:
        return PROTOCOL
    if base == "wsgiproof" and (name in LAYERS or name == INSIDE):
        return f"wsgiproof.{name}"
    return base


def name_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return "" if parts == ["__init__"] else ".".join(parts)


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
        ("errors", "from wsgiproof.cell import Cell", "wsgiproof.cell"),
        ("cell", "from wsgiproof.records import LoadPlan", "wsgiproof.records"),
        ("toolchain", "from wsgiproof.cache import Cache", "wsgiproof.cache"),
        ("process", "from wsgiproof import account", "wsgiproof.account"),
        ("cache", "import wsgiproof.config", "wsgiproof.config"),
        ("account", "from wsgiproof.cache import Cache", "wsgiproof.cache"),
        ("config", "from wsgiproof.matrix import expand", "wsgiproof.matrix"),
        ("build.python", "from wsgiproof.services.ports import free_port",
         "wsgiproof.services.ports"),
        ("build.python", "from ..services import ports", "wsgiproof.services"),
        ("services.apache", "from wsgiproof.config import Config", "wsgiproof.config"),
        ("load.answer", "from wsgiproof.experiment import run_experiment", "wsgiproof.experiment"),
        ("judge.leaks", "from wsgiproof.scratch import scratch_directory", "wsgiproof.scratch"),
        ("judge.leaks", "from wsgiproof.observe.log import LogFollower", "wsgiproof.observe.log"),
        ("report.terminal", "from wsgiproof.process import run", "wsgiproof.process"),
        ("judge.leaks", "from wsgiproof.report.terminal import printable",
         "wsgiproof.report.terminal"),
        ("experiment", "from wsgiproof.preflight import Machine", "wsgiproof.preflight"),
        ("runner", "from wsgiproof.run import run", "wsgiproof.run"),
        ("run", "from wsgiproof.cli import main", "wsgiproof.cli"),
        ("cli", "from wsgiproof import inside", "wsgiproof.inside"),
        ("subjects.application", "import wsgiproof.inside.app", "wsgiproof.inside.app"),
        ("judge.leaks", "from wsgiproof.inside import protocol", "wsgiproof.inside.protocol"),
        ("observe.answers", "from wsgiproof.inside import agent", "wsgiproof.inside"),
        ("inside.app", "from wsgiproof.cell import Cell", "wsgiproof.cell"),
        ("inside.app", "from .. import cell", "wsgiproof.cell"),
        ("inside.app", "import msgspec", "msgspec"),
        ("guard", "import psutil", "psutil"),
        ("guard", "from wsgiproof.errors import CannotRun", "wsgiproof.errors"),
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
        ("records", "from wsgiproof.cell import Cell"),
        ("matrix", "from wsgiproof.config import Config"),
        ("run", "from wsgiproof.runner import run_cells\nfrom wsgiproof import __version__"),
        ("judge.verdict", "from wsgiproof.judge import leaks\nfrom . import answers"),
        ("services.apache", "import psutil\nfrom wsgiproof.process import Service"),
        ("inside.app", "import json, pymongo, mod_wsgi\nfrom . import probe\nfrom .x import y"),
        ("observe.answers", "from wsgiproof.inside import protocol"),
        ("experiment.load", "from wsgiproof.inside.protocol import REPORT"),
        ("guard", "import ctypes"),
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


MAIN_THREAD_ONLY = {"merge", "results", "configfile", "judge"}
"""Modules that only the main thread calls."""


def test_no_thread_prepares_a_type_of_msgspec() -> None:
    # msgspec 0.22.0 crashes if two threads use a type for the first time at once. "describe" is
    # called by threads, and prepares its type at import.
    found = {
        (path.relative_to(ROOT).parts[0].removesuffix(".py"), path.name)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if _prepares_a_type(node)
    }
    assert {one for one in found if one[0] not in MAIN_THREAD_ONLY} == {("build", "python.py")}
