"""The extras of PyMongo: read, refused, and asked for by a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cells import CELL, cell_with
from wsgiproof.errors import UsageError
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.environment import _requirement, environment_build
from wsgiproof.provision.toolchain import BuildSpec, Python, Source
from wsgiproof.subjects.pymongo.axes import extras_of
from wsgiproof.subjects.pymongo.extras import parse_extras


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("none", ()),
        ("", ()),
        ("zstd, ocsp,zstd", ("ocsp", "zstd")),
        ("encryption", ("encryption",)),
    ],
)
def test_a_set_of_extras_is_read(text: str, names: tuple[str, ...]) -> None:
    assert parse_extras(text) == names


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("snapy", r"--extras snapy: 'snapy' is not an extra; did you mean 'snappy'\?"),
        ("gssapi", "'gssapi' is not an extra; there is encryption, ocsp, snappy, zstd"),
        ("snappy,", "'' is not an extra"),
    ],
)
def test_what_is_no_extra_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_extras(text)


@pytest.mark.parametrize(
    ("axes", "asked"),
    [
        ({}, set()),
        ({"extras": "ocsp,zstd"}, {"ocsp", "zstd"}),
        ({"uri_options": "compressors=zlib,snappy&w=1"}, {"snappy"}),
        ({"extras": "ocsp", "uri_options": "w=1&compressors=zstd"}, {"ocsp", "zstd"}),
    ],
)
def test_a_cell_asks_for_extras_by_name_and_by_the_compressors_of_its_uri(
    axes: dict[str, str], asked: set[str]
) -> None:
    assert extras_of(cell_with(CELL, **axes)) == asked


def test_they_are_installed_with_a_version_and_with_a_file() -> None:
    assert _requirement("pymongo", (), Source(version="4.20.0")) == "pymongo==4.20.0"
    assert _requirement("pymongo", ("ocsp",), Source(version="4.20.0")) == "pymongo[ocsp]==4.20.0"
    wheel = Source(version="4.20.0", path="/x.whl", archive="/x.whl")
    assert _requirement("pymongo", ("ocsp", "zstd"), wheel) == "pymongo[ocsp,zstd] @ file:///x.whl"


def test_an_environment_with_extras_is_another_one(tmp_path: Path) -> None:
    python = Python(
        version="3.12.1", path="/p", prefix="/", shared=True, headers=True, stdlib="",
        free_threaded=False,
    )  # fmt: skip
    plain = BuildSpec(
        python=python,
        mod_wsgi=Source(version="5.0.2"),
        packages={"pymongo": Source(version="4.20.0")},
    )
    with_extras = BuildSpec(
        python=python,
        mod_wsgi=plain.mod_wsgi,
        packages=plain.packages,
        extras={"pymongo": ("zstd",)},
    )
    cache = Cache(tmp_path)
    keys = [environment_build(one, cache).key for one in (plain, with_extras)]
    assert keys[0]["requirements"] == ""
    assert keys[1] == {**keys[0], "requirements": "pymongo[zstd]"}
