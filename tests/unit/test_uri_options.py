"""Sets of options for the URI of a deployment: read, refused, and named in ids."""

from __future__ import annotations

import pytest

from tests.cells import configured
from wsgiproof.errors import UsageError
from wsgiproof.subjects.backend import Asked
from wsgiproof.subjects.pymongo.backends import find_mongodbs
from wsgiproof.subjects.pymongo.uri_options import (
    compressors,
    in_uri,
    label_of,
    parse_options,
    why_not_acknowledged,
)


def test_names_compare_without_case_and_are_written_as_pymongo_does() -> None:
    options = parse_options("COMPRESSORS=zlib,zstd&wtimeoutms=5")
    assert in_uri(options) == "compressors=zlib,zstd&wTimeoutMS=5"
    assert compressors(options) == ["zlib", "zstd"]
    assert label_of(options) == "compressors_zlib_zstd_wTimeoutMS_5"


def test_none_is_an_empty_set() -> None:
    assert parse_options("none") == parse_options("") == {}
    assert label_of({}) == ""
    assert compressors({}) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "compressor=zlib",
            r"'compressor' is not an option of a set; did you mean 'compressors'\?",
        ),
        # What wsgiproof decides itself, and what may be a secret.
        ("appName=x", "'appName' is not an option of a set; there is compressors, connect"),
        ("tls=false", "'tls' is not an option"),
        ("tlsCertificateKeyFilePassword=hunter2", "is not an option"),
        ("replicaSet=x", "'replicaSet' is not an option"),
        ("w=0", "with w=0 nobody knows"),
        ("w=00", "with w=0 nobody knows"),
        ("mongodb://u:hunter2@h/?w=majority", "a set has options of a URI only"),
        ("w=1&W=2", "w is there twice"),
        ("w=", "'' can't be a value of w"),
        ("readPreference=a/../b", "'a/../b' can't be a value of readPreference"),
        ("compressors", "a set is as in a URI, such as 'compressors=zlib&w=majority'"),
        ("compressors=" + "zlib," * 20, "a set has 80 characters at most"),
    ],
)
def test_what_is_no_set_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_options(text)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("w", "members", "why"),
    [("3", 3, ""), ("4", 3, "w=4 takes 4 members, and there are three"), ("majority", 1, "")],
)
def test_a_write_that_nobody_could_acknowledge_is_no_cell(w: str, members: int, why: str) -> None:
    assert why_not_acknowledged({"w": w}, members) == why


def test_two_sets_of_one_label_do_not_run_together() -> None:
    config = configured(topology=("none",), uri_options=("w=a_b", "w=a-b"))
    asked = Asked(values=config.all_values(), names={})
    with pytest.raises(UsageError, match="w=a-b: it looks like another set in the ids of cells"):
        find_mongodbs(asked, None)
