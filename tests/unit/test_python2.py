"""Packages for Python 2.7: what pip's files and refusals mean."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.provision.python import describe
from wsgiproof.provision.python2 import _version_of, unresolved

PYTHON = msgspec.structs.replace(describe(Path(sys.executable)), version="2.7.18")
REFUSAL = (
    "WARNING: Url 'file:///opt/wheels/' is ignored: it is neither a file nor a directory.\n"
    "ERROR: Could not find a version that satisfies the requirement {} (from versions: {})\n"
    "ERROR: No matching distribution found for {}\n"
)


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("pymongo-2.6.3.tar.gz", "2.6.3"),
        ("mod_wsgi-4.9.4.tar.gz", "4.9.4"),
        ("pymongo-3.13.0-cp27-cp27mu-manylinux_2_5_x86_64.manylinux1_x86_64.whl", "3.13.0"),
    ],
)
def test_a_download_tells_its_version(filename: str, version: str) -> None:
    assert _version_of(filename) == version


@pytest.mark.parametrize("listed", ["4.9.4", "4.1.0, 4.9.3, 4.9.4"])
def test_a_version_that_there_is_not_names_the_newest_for_this_python(listed: str) -> None:
    refusal = REFUSAL.format("mod-wsgi==5.0.2", listed, "mod-wsgi==5.0.2")
    error = unresolved("mod-wsgi", "5.0.2", PYTHON, refusal)
    assert isinstance(error, UsageError)
    assert str(error) == "there is no mod-wsgi 5.0.2 for Python 2.7.18: the newest is 4.9.4"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (REFUSAL.format("pymongo", "none", "pymongo"), "the package index does not answer"),
        ("Collecting pymongo\nfatal error: Python.h: No such file", "Python.h: No such file"),
        ("", "it printed nothing"),
    ],
)
def test_no_answer_is_not_a_wrong_version(output: str, words: str) -> None:
    error = unresolved("pymongo", "2.6.3", PYTHON, output)
    assert isinstance(error, CannotRun)
    assert words in str(error)
