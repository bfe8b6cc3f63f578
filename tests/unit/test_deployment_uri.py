"""URIs of deployments: rewritten without losing anything, shown without their credentials."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from pymongo.uri_parser import parse_uri

from wsgiproof.errors import ExitCode, UsageError
from wsgiproof.server.ports import LOOPBACK
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.pymongo.deployment import Deployment, connect_deployment
from wsgiproof.subjects.pymongo.uri import (
    host_and_port,
    hosts_of,
    safe,
    with_hosts,
    with_options,
    with_user,
)

SECRET = "hunter2"
FULL = (
    f"mongodb://ann:{SECRET}@db1.example,db2.example:27018/app"
    "?replicaSet=rs0&tls=true&authSource=my%20users&appName=mine"
)


def options(uri: str) -> dict[str, Any]:
    """As PyMongo reads them, named in lower case."""
    return {name.lower(): value for name, value in parse_uri(uri)["options"].items()}


def test_hosts_are_replaced_and_the_rest_stays() -> None:
    uri = with_hosts(FULL, ["a:1", "b:2"])
    assert hosts_of(uri) == ["a:1", "b:2"]
    before, after = parse_uri(FULL), parse_uri(uri)
    assert after["nodelist"] == [("a", 1), ("b", 2)]
    for part in ("username", "password", "database", "options"):
        assert after[part] == before[part], part


def test_options_are_added_to_the_new_hosts() -> None:
    uri = with_hosts(
        FULL, ["a:1"], appName="observer", directConnection="true", replicaSet=None
    )  # fmt: skip
    parsed = parse_uri(uri)
    assert parsed["nodelist"] == [("a", 1)]
    assert options(uri) == {
        "appname": "observer",
        "authsource": "my users",
        "directconnection": True,
        "tls": True,
    }
    assert parsed["password"] == SECRET


def test_a_user_is_put_into_it_whatever_its_characters_are() -> None:
    parsed = parse_uri(with_user("mongodb://old:x@h:1/?w=1", "a@b", "c/d:%", authSource="admin"))
    assert (parsed["username"], parsed["password"]) == ("a@b", "c/d:%")
    assert parsed["nodelist"] == [("h", 1)]
    assert {name.lower(): one for name, one in parsed["options"].items()} == {
        "w": 1,
        "authsource": "admin",
    }


def test_hosts_without_a_user() -> None:
    assert with_hosts("mongodb://old:1/", ["a:1", "b:2"]) == "mongodb://a:1,b:2/"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://h", "mongodb://h/?appName=x"),
        ("mongodb://h/", "mongodb://h/?appName=x"),
        ("mongodb://h/db", "mongodb://h/db?appName=x"),
        ("mongodb://h/?w=1", "mongodb://h/?w=1&appName=x"),
        ("mongodb://h/?APPNAME=mine&w=1", "mongodb://h/?w=1&appName=x"),
        ("mongodb://u:p@h/?appname=mine", "mongodb://u:p@h/?appName=x"),
    ],
)
def test_an_option_is_set_in_place_of_the_one_that_was_there(uri: str, expected: str) -> None:
    assert with_options(uri, appName="x") == expected


def test_none_removes_an_option() -> None:
    assert with_options("mongodb://h/?replicaSet=rs&w=1", replicaset=None) == "mongodb://h/?w=1"
    assert with_options("mongodb://h/?w=1", replicaSet=None) == "mongodb://h/?w=1"


@pytest.mark.parametrize("value", ["a b", "a&b=c", "a+b", "50%", "ü", "/etc/ca.pem"])
def test_values_survive_quoting(value: str) -> None:
    uri = with_options("mongodb://h/?w=1", appName=value)
    again = with_options(uri, retryWrites="false")
    assert options(again)["appname"] == value


def test_credentials_stay_quoted() -> None:
    uri = with_options("mongodb://u%40x:p%2Fw%3A@h/?w=1", appName="x")
    parsed = parse_uri(uri)
    assert (parsed["username"], parsed["password"]) == ("u@x", "p/w:")


def test_tags_are_left_as_they_are() -> None:
    """PyMongo does not unquote them, so that ``dc%3Any`` is no tag."""
    again = with_options("mongodb://h/?readPreferenceTags=dc:ny,use:report", appName="x")
    assert options(again)["readpreferencetags"] == [{"dc": "ny", "use": "report"}]


def test_an_empty_tag_set_keeps_its_meaning() -> None:
    """``readPreferenceTags=`` means any member (URI options spec), and is not the same as none."""
    uri = "mongodb://h/?readPreference=nearest&readPreferenceTags=dc:ny&readPreferenceTags="
    again = with_options(uri, appName="x")
    assert options(again)["readpreferencetags"] == [{"dc": "ny"}, {}]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("h", ("h", 27017)),
        ("h:1", ("h", 1)),
        ("[::1]:5", ("[::1]", 5)),
        ("[::1]", ("[::1]", 27017)),
    ],
)
def test_a_host_without_a_port_has_the_default_one(host: str, expected: tuple[str, int]) -> None:
    assert host_and_port(host) == expected


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (FULL, "db1.example,db2.example:27018"),
        (f"mongodb://ann:{SECRET}@h:1", "h:1"),
        (f"mongodb://{SECRET}@h/?authMechanismProperties=TOKEN:{SECRET}", "h"),
        (f"mongodb://ann:p@{SECRET}@h:1/", "h:1"),
        ("mongodb://h1,h2/db", "h1,h2"),
    ],
)
def test_a_uri_is_shown_without_its_credentials(uri: str, shown: str) -> None:
    assert safe(uri) == shown


@pytest.mark.parametrize(
    ("owned", "shown"),
    [(True, "mongodb://ann:hunter2@127.0.0.1:1/?appName=me"), (False, "mongodb://127.0.0.1:1/")],
)
def test_only_the_uri_of_an_owned_deployment_is_shown_in_full(owned: bool, shown: str) -> None:
    uri = f"mongodb://ann:{SECRET}@{LOOPBACK}:1/"
    with closing(Deployment(Topology.STANDALONE, uri, "6.0.5", owned=owned)) as deployment:
        assert deployment.shown("me") == {"mongodb": shown, "database": "me"}


def test_an_srv_uri_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(UsageError, match=r"mongodb\+srv") as caught:
        connect_deployment(f"mongodb+srv://ann:{SECRET}@cluster.example/")
    assert caught.value.exit_code is ExitCode.USAGE
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["127.0.0.1:1", "http://localhost/", "mongodb://", "mongodb://h:port/", "mongodb:h"]
)
def test_what_is_no_uri_is_a_usage_error_in_one_line(uri: str) -> None:
    with pytest.raises(UsageError, match="MongoDB URI") as caught:
        connect_deployment(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        f"mongodb://ann:{SECRET}@h:port/",
        f"mongodb://ann:{SECRET}/more@h:1/",
        f"mongodb://ann:{SECRET}@h:1/?replicaSet=a&directConnection=true&loadBalanced=true",
        f"mongodb://ann:{SECRET}@a,b/?directConnection=true",
        f"http://ann:{SECRET}@h:1/",
    ],
)
def test_a_wrong_uri_is_refused_without_its_credentials(uri: str) -> None:
    """The message goes to a terminal, and in CI to a log that others read."""
    with pytest.raises(UsageError) as caught:
        connect_deployment(uri)
    assert SECRET not in str(caught.value)
