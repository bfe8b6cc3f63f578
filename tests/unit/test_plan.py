"""A plan fixes what ``latest`` means, also if there is a release while CI runs. With a real uv."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cells import configured
from tests.unit.test_merge import refused
from tests.unit.test_planning import ACCOUNT, NONE
from tests.unit.test_versions import index_of
from wsgiproof.config.matrix import expand
from wsgiproof.errors import UsageError
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.environment import environment_build, home_in, installed_packages
from wsgiproof.provision.python import describe
from wsgiproof.provision.toolchain import Apache, BuildSpec, Source
from wsgiproof.records.cell import Mode, Mpm
from wsgiproof.records.listed import Environment, Listed
from wsgiproof.records.reading import load_list
from wsgiproof.report.matrix import as_listed
from wsgiproof.run.planning import HostSetup, plan
from wsgiproof.run.preflight import Machine
from wsgiproof.run.resolve import (
    pins_of,
    resolve_axes,
    resolved_environments,
    resolved_values,
)
from wsgiproof.subjects.pymongo.axes import Topology

PYTHON = msgspec.structs.replace(describe(Path(sys.executable)), name="3.x", asked="")
SOURCE = Source(version="4.20.0")
APACHE = Apache(version="2.4.71", mpms=(Mpm.PREFORK,))
MACHINE = Machine(account=ACCOUNT, pythons=(PYTHON,), apaches=(APACHE,), backends=NONE)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the only index that uv knows."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    directory = tmp_path / "index"
    index_of(directory, ("6.1.1",), "mod-wsgi")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index_of(directory, ("4.9", "4.20.0")))
    return directory


def listed(tmp: Path, listed: Listed | None = None, **options: Any) -> Listed:
    """What ``wsgiproof list --json`` prints; ``listed`` is the plan that it is given."""
    config = configured(topology=(Topology.NONE,), mode=(Mode.DAEMON,), **options)
    axes = resolve_axes(config, MACHINE, Cache(tmp / "cache"), listed)
    matrix = expand(config, axes)
    return as_listed(matrix.cells, matrix.excluded, resolved_values(axes))


def ids(one: Listed) -> list[str]:
    return [cell.id for cell in one.cells]


def test_each_shard_runs_the_versions_of_the_plan(index: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    asked: dict[str, Any] = {"pymongo": ("latest", "4.9"), "mod_wsgi": ("", "6")}
    path.write_bytes(msgspec.json.encode(before := listed(tmp_path, **asked)))
    assert {one.exact for one in before.resolved} == {"4.20.0", "4.9.0", "6.1.1"}

    index_of(index, ("4.9", "4.9.2", "4.20.0", "4.21.0"))
    index_of(index, ("6.1.1", "6.2.0"), "mod-wsgi")
    assert listed(tmp_path, load_list(path), **asked) == before
    assert not {*ids(listed(tmp_path, **asked))} & {*ids(before)}, "the releases would be noticed"


def environment(tmp: Path, listed: Listed | None = None) -> tuple[Listed, dict[str, str]]:
    """The list with its environments, and what is really installed for its only cell."""
    config = configured(topology=(Topology.NONE,), mode=(Mode.DAEMON,))
    axes = resolve_axes(config, MACHINE, Cache(tmp / "cache"), listed)
    setup = HostSetup(machine=MACHINE, resolved=axes, cache=Cache(tmp / "cache"), listed=listed)
    (job,) = plan(config, setup).jobs
    found = resolved_environments([job.spec, job.spec])
    home = home_in(setup.cache.get(environment_build(job.spec, setup.cache)))
    return as_listed((), (), resolved_values(axes), found), installed_packages(home)


def test_each_shard_installs_the_same_beside_the_subject(index: Path, tmp_path: Path) -> None:
    index_of(index, ("4.20.0",), requires="dnspython<3,>=2")
    index_of(index, ("2.7.0",), "dnspython")
    before, installed = environment(tmp_path)
    assert before.environments == (
        Environment(python="3.x", subject={"pymongo": "4.20.0"}, packages={"dnspython": "2.7.0"}),
    )
    assert installed == {"pymongo": "4.20.0", "dnspython": "2.7.0"}

    index_of(index, ("2.7.0", "2.8.0"), "dnspython")
    again, same = environment(tmp_path / "shard", before)
    assert (again, same) == (before, installed)
    _, newer = environment(tmp_path / "other")
    assert newer["dnspython"] == "2.8.0", "the release would be noticed"


def test_cells_with_other_extras_have_an_environment_of_their_own(
    index: Path, tmp_path: Path
) -> None:
    index_of(index, ("4.20.0",), requires="dnspython<3,>=2")
    index_of(index, ("2.7.0",), "dnspython")
    plain = BuildSpec(python=PYTHON, mod_wsgi=SOURCE, packages={"pymongo": SOURCE})
    with_extra = msgspec.structs.replace(plain, extras={"pymongo": ("snappy",)})
    found = Listed(cells=(), environments=resolved_environments([plain, with_extra]))
    assert [one.subject for one in found.environments] == [
        {"pymongo": "4.20.0"},
        {"pymongo": "4.20.0[snappy]"},
    ]
    assert pins_of(with_extra, found) == ["dnspython==2.7.0"]


@pytest.mark.parametrize(
    ("name", "version"),
    [("x\n--index-url https://evil.example/", "1"), ("-r/etc/shadow", "1"), ("x", "1\n-r /etc/x")],
)
def test_a_plan_adds_no_line_to_what_the_installer_reads(name: str, version: str) -> None:
    spec = BuildSpec(python=PYTHON, mod_wsgi=SOURCE, packages={})
    bad = Environment(python=PYTHON.name, subject={}, packages={name: version})
    with pytest.raises(UsageError, match="where a name or an exact version has to be"):
        pins_of(spec, Listed(cells=(), environments=(bad,)))


@pytest.mark.parametrize("exact", ["/root/evil", "git+https://x.org/a@main", "latest", ""])
def test_a_plan_names_exact_versions_only(index: Path, tmp_path: Path, exact: str) -> None:
    before = listed(tmp_path)
    bad = tuple(msgspec.structs.replace(one, exact=exact, reason="") for one in before.resolved)
    with pytest.raises(UsageError, match="where a name or an exact version has to be"):
        listed(tmp_path, msgspec.structs.replace(before, resolved=bad))


def test_an_environment_that_can_not_be_resolved_is_left_to_its_cells(
    index: Path, tmp_path: Path
) -> None:
    spec = BuildSpec(
        python=PYTHON,
        mod_wsgi=Source(version="6.1.1"),
        packages={"pymongo": Source(version="4.20.0")},
        requirements=("no-such-package",),
    )
    assert resolved_environments([spec]) == ()
    assert pins_of(spec, Listed(cells=())) == []


def test_what_had_no_version_has_none(index: Path, tmp_path: Path) -> None:
    """A release may support a Python that no earlier one did."""
    plan = listed(tmp_path)
    (pymongo,) = (one for one in plan.resolved if one.axis == "pymongo")
    none = msgspec.structs.replace(pymongo, exact="", reason="it supports no such Python")
    others = tuple(one for one in plan.resolved if one is not pymongo)
    with pytest.raises(UsageError, match="it supports no such Python"):
        listed(tmp_path, msgspec.structs.replace(plan, resolved=(*others, none)))


def test_a_plan_of_something_else_is_refused(index: Path, tmp_path: Path) -> None:
    plan = listed(tmp_path, pymongo=("4.9",))
    with pytest.raises(UsageError) as caught:
        listed(tmp_path, plan, pymongo=("latest",))
    assert str(caught.value) == (
        "the plan does not say which version --pymongo latest is for Python 3.x: make it with "
        "'wsgiproof list --json' and the same options"
    )


@pytest.mark.parametrize("command", ["run", "list", "build", "serve"])
def test_each_command_that_looks_versions_up_reads_the_plan(command: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("[]")
    told = refused(command, "--no-config", "--plan", path)
    assert told.startswith(f"{path} is not what 'wsgiproof list --json' prints: ")
