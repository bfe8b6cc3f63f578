"""Versions that are not complete stand for the newest that begins so. Asked of a real uv."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from wsgiproof.errors import Unsupported, UsageError
from wsgiproof.provision import index
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.packages import find_version
from wsgiproof.provision.python import describe

PYTHON = describe(Path(sys.executable))
RELEASES = (
    *("4.9", "4.9.2", "4.19.3", "4.20.0", "4.20.1", "4.20.2b1", "4.20.10", "5.0.0rc1"),
    "3.1.0",
)
TOO_NEW = "4.20.11"
"""It needs a Python that nobody has."""


def index_of(
    directory: Path, versions: tuple[str, ...], package: str = "pymongo", requires: str = ""
) -> str:
    """The URL of a package index (PEP 503) that has these versions of a package as wheels."""
    project = directory / package
    project.mkdir(parents=True, exist_ok=True)
    links = []
    for version in versions:
        name = f"{package.replace('-', '_')}-{version}"
        path = project / f"{name}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
            metadata += f"Requires-Dist: {requires}\n" if requires else ""
            wheel.writestr(f"{name}.dist-info/METADATA", metadata)
            wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{name}.dist-info/RECORD", "")
        needs = ' data-requires-python="&gt;=3.99"' if version == TOO_NEW else ""
        links.append(f'<a href="{path.name}"{needs}>{path.name}</a>')
    (project / "index.html").write_text("<!DOCTYPE html><body>" + "<br>".join(links))
    return directory.as_uri()


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only index that uv knows."""
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index_of(tmp_path / "index", (*RELEASES, TOO_NEW)))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("4.20", "4.20.10"),
        ("4", "4.20.10"),
        ("4.9", "4.9.2"),
        ("4.9.0", "4.9"),
        ("4.20.0", "4.20.0"),
        ("4.20.1", "4.20.1"),
        ("4.20.2b1", "4.20.2b1"),
        ("5.0.0rc1", "5.0.0rc1"),
        ("3", "3.1.0"),
        ("latest", "4.20.10"),
        ("", "4.20.10"),
        ("min", "3.1.0"),
    ],
)
def test_what_a_version_stands_for(wanted: str, version: str, cache: Cache) -> None:
    assert find_version("pymongo", wanted, PYTHON, cache) == version


def test_only_the_answer_about_an_exact_version_is_kept(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted in ("4.20", "4.20.0"):
        find_version("pymongo", wanted, PYTHON, cache)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index_of(tmp_path / "empty", ("1.0.0",)))
    assert find_version("pymongo", "4.20.0", PYTHON, cache) == "4.20.0"
    with pytest.raises(UsageError):
        find_version("pymongo", "4.20", PYTHON, cache)


@pytest.mark.parametrize("wanted", ["5", "5.0", "4.2"])
def test_a_prefix_that_no_release_has(wanted: str, cache: Cache) -> None:
    """4.2 is not the beginning of 4.20, and a pre-release is no release."""
    with pytest.raises(UsageError) as caught:
        find_version("pymongo", wanted, PYTHON, cache)
    assert str(caught.value) == f"there is no pymongo {wanted}.x on the package index"


def test_an_exact_version_that_does_not_support_the_python(cache: Cache) -> None:
    with pytest.raises(Unsupported, match=r"^pymongo 4\.20\.11 does not support Python 3"):
        find_version("pymongo", TOO_NEW, PYTHON, cache)


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (
            "mod-wsgi",
            "'plain' is not a version of mod-wsgi: give one such as 1.2.3 or 1.2 (the newest "
            "1.2.x), latest, or a path such as ./plain",
        ),
        (
            "pymongo",
            "'plain' is not a version of pymongo: give one such as 1.2.3 or 1.2 (the newest "
            "1.2.x), latest, min, or a path such as ./plain",
        ),
    ],
)
def test_what_is_no_version_comes_with_examples(package: str, message: str, cache: Cache) -> None:
    with pytest.raises(UsageError) as caught:
        find_version(package, "plain", PYTHON, cache)
    assert str(caught.value) == message


def test_what_an_installer_is_asked_for() -> None:
    """pip, which does it for Python 2.7, is asked for the same."""
    asked = {wanted: index.requirement("mod-wsgi", wanted) for wanted in ("", "4", "4.9", "4.9.4")}
    assert asked == {
        "": "mod-wsgi",
        "4": "mod-wsgi==4.*",
        "4.9": "mod-wsgi==4.9.*",
        "4.9.4": "mod-wsgi==4.9.4",
    }
