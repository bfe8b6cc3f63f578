"""What is installed for the subject, beside it, and within which constraints."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from packaging.version import Version

from wsgiproof.errors import BuildFailed
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.environment import environment_build, home_in, installed_packages
from wsgiproof.provision.index import error_line
from wsgiproof.provision.python import describe
from wsgiproof.provision.toolchain import BuildSpec, Source
from wsgiproof.records.cell import Resolution


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def spec() -> BuildSpec:
    python = describe(Path(sys.executable))
    return BuildSpec(
        python=python,
        mod_wsgi=Source(version="5.0.2"),
        packages={"pymongo": Source(version="4.15.3")},
    )


def made(spec: BuildSpec, cache: Cache) -> Path:
    return home_in(cache.get(environment_build(spec, cache)))


def test_what_is_installed_is_known_exactly(spec: BuildSpec, cache: Cache) -> None:
    wanted = msgspec.structs.replace(
        spec, requirements=("iniconfig",), constraints="dnspython==2.7.0\niniconfig==2.0.0\n"
    )
    home = made(wanted, cache)
    assert installed_packages(home) == {
        "dnspython": "2.7.0",
        "iniconfig": "2.0.0",
        "pymongo": "4.15.3",
    }
    assert made(wanted, cache) == home
    other = msgspec.structs.replace(wanted, constraints="iniconfig==2.1.0\n")
    assert installed_packages(made(other, cache))["iniconfig"] == "2.1.0"
    assert "iniconfig" not in installed_packages(made(spec, cache))


def test_the_minimum_is_what_the_subject_itself_allows(spec: BuildSpec, cache: Cache) -> None:
    """PyMongo 4.15.3 needs dnspython 1.16.0 or newer. What Jinja2 needs is no direct dependency."""
    wanted = msgspec.structs.replace(
        spec, requirements=("jinja2>=3.1",), resolution=Resolution.LOWEST_DIRECT
    )
    low = installed_packages(made(wanted, cache))
    assert (low["pymongo"], low["dnspython"], low["jinja2"]) == ("4.15.3", "1.16.0", "3.1.0")
    assert Version(low["markupsafe"]) >= Version("3")
    assert Version(installed_packages(made(spec, cache))["dnspython"]) > Version("2.7")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"constraints": "pymongo==4.19.0\n"},
            "you require pymongo==4.15.3 and pymongo==4.19.0, we can conclude that your "
            "requirements are unsatisfiable.",
        ),
        (
            {"requirements": ("no-such-package-anywhere",)},
            "no-such-package-anywhere was not found in the package registry",
        ),
    ],
)
def test_what_cannot_be_installed_says_why(
    spec: BuildSpec, cache: Cache, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(BuildFailed) as caught:
        made(msgspec.structs.replace(spec, **changes), cache)
    assert text in str(caught.value)


def test_old_packages_are_known_as_well(tmp_path: Path) -> None:
    place = tmp_path / "lib" / "python2.7" / "site-packages"
    (place / "Old_Style-1.0.egg-info").mkdir(parents=True)
    (place / "Old_Style-1.0.egg-info" / "PKG-INFO").write_text("Name: Old_Style\nVersion: 1.0\n")
    assert installed_packages(tmp_path) == {"old-style": "1.0"}


def test_an_unsolved_set_of_requirements_is_reported_in_one_line() -> None:
    """As older versions of uv write it, and fold it."""
    output = (
        "  x No solution found when resolving dependencies:\n"
        "  ╰─▶ Because you require a==1 and a==2, we can conclude that your\n"
        "      requirements are unsatisfiable.\n\n      hint: something else\n"
    )
    assert error_line(output) == (
        "Because you require a==1 and a==2, we can conclude that your requirements are "
        "unsatisfiable."
    )
