"""wsgiproof.toml: found, read, combined with the command line, and every mistake in one line."""

from __future__ import annotations

import os
import pwd
import re
import tempfile
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.cells import combination, configured, exclusion
from tests.unit.test_cli import Ended, Runner, one_line
from wsgiproof.cli.options import configure
from wsgiproof.config.axes import ALL_AXES
from wsgiproof.config.axes import NAMES as TABLES_OF_NAMES
from wsgiproof.config.file import ConfigFile, Loaded, combine, find, load, schema, starter
from wsgiproof.config.known import KnownTable
from wsgiproof.config.model import Config, Override, Profile
from wsgiproof.errors import UsageError
from wsgiproof.records.cell import Mode, Mpm
from wsgiproof.subjects.pymongo.axes import Topology
from wsgiproof.subjects.registry import known_controls

CONTROLS = known_controls()

DOCS = Path(__file__).parents[2] / "docs"


def written(directory: Path, text: str, name: str = "wsgiproof.toml") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(text)
    return path


def refused(directory: Path, text: str) -> str:
    """What is wrong with this file, without its path, which has to stand before it."""
    path = written(directory, text)
    with pytest.raises(UsageError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def config_of(directory: Path, text: str, chosen: str = "", **options: Any) -> Config:
    """The configuration that a command started in ``directory`` has."""
    return combine(load(written(directory, text)), chosen, options)


# Finding it


def test_the_nearest_file_upwards_is_found(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b" / "c"
    below.mkdir(parents=True)
    far = written(tmp_path, "jobs = 1")
    assert find(below) == far
    near = written(tmp_path / "a" / "b", "jobs = 2")
    assert find(below) == near
    assert find(tmp_path / "a") == far


def test_a_pyproject_without_the_table_is_passed_over(tmp_path: Path) -> None:
    far = written(tmp_path, "jobs = 1")
    near = written(tmp_path / "a", "[tool.other]\nx = 1", "pyproject.toml")
    assert find(tmp_path / "a") == far
    near.write_text("[tool.wsgiproof]\njobs = 2")
    assert find(tmp_path / "a") == near
    assert combine(load(near), "", {}).jobs == 2


def test_beside_a_pyproject_the_file_of_our_own_wins(tmp_path: Path) -> None:
    written(tmp_path, "[tool.wsgiproof]\njobs = 2", "pyproject.toml")
    ours = written(tmp_path, "jobs = 1")
    assert find(tmp_path) == ours


def test_a_directory_of_that_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a" / "wsgiproof.toml").mkdir(parents=True)
    assert find(tmp_path / "a") != tmp_path / "a" / "wsgiproof.toml"


def test_a_pyproject_that_is_named_has_to_have_the_table(tmp_path: Path) -> None:
    path = written(tmp_path, "[project]\nname = 'x'", "pyproject.toml")
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value) == f"{path} has no table [tool.wsgiproof]"


# Whose it is

NOBODY = pwd.getpwnam("nobody").pw_uid


def give_away(path: Path) -> str:
    """Have it be another user's, or, where we may not do that, everybody's to write; what is said
    of it then."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, -1, follow_symlinks=False)
        return f"belongs to 'nobody' (uid {NOBODY})"
    path.chmod(path.stat().st_mode | 0o002)
    return "is writable by everyone"


def not_used(here: Path, path: Path) -> str:
    """Why a file that was found is not used; naming it is consent, and so is wanting none."""
    with pytest.raises(UsageError) as caught:
        configure({}, no_config=False)
    message = str(caught.value)
    assert message.isprintable()
    assert f"--config {path}" in message
    assert "--no-config" in message
    config, used = configure({}, file=path, no_config=False)
    assert (config.jobs, used) == (7, path)
    assert configure({}, no_config=True)[1] is None
    return message.removeprefix(f"{path} is not used, since ").partition(": if you trust")[0]


def test_a_file_of_another_user_is_not_used_until_it_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(here, "jobs = 7")
    below = here / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert configure({}, no_config=False)[1] == path
    told = give_away(path)
    assert not_used(here, path) == f"it {told}"


def test_a_pyproject_of_another_user_is_not_used_and_not_even_parsed(here: Path) -> None:
    path = written(here, "[tool.wsgiproof]\njobs = 7", "pyproject.toml")
    told = give_away(path)
    assert not_used(here, path) == f"it {told}"
    path.write_text("[project]\nname = 'x'\nthis is no TOML")
    assert configure({}, no_config=False)[1] != path


@pytest.mark.parametrize("above", ["a", "a/b", "a/b/c"])
def test_a_directory_of_another_user_on_the_way_is_an_objection(
    above: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(here / "a", "jobs = 7")
    (here / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(here / "a" / "b" / "c")
    assert configure({}, no_config=False)[1] == path
    told = give_away(here / above)
    assert not_used(here, path) == f"{here / above} {told}"


@pytest.mark.parametrize("what", ["file", "directory", "above"])
def test_what_everybody_may_write_is_an_objection(what: str, here: Path) -> None:
    path = written(here / "a" / "b", "jobs = 7")
    os.chdir(path.parent)
    target = {"file": path, "directory": path.parent, "above": path.parent.parent}[what]
    target.chmod(target.stat().st_mode | 0o002)
    said = "it" if what == "file" else str(target)
    assert not_used(here, path) == f"{said} is writable by everyone"


def test_in_a_directory_with_the_sticky_bit_only_the_file_counts(here: Path) -> None:
    path = written(here / "tmp", "jobs = 7")
    os.chdir(path.parent)
    path.parent.chmod(0o1777)
    assert configure({}, no_config=False)[1] == path
    told = give_away(path)
    assert not_used(here, path) == f"it {told}"


@pytest.mark.parametrize("whose", ["target", "directory"])
def test_a_link_is_as_good_as_what_it_leads_to(whose: str, here: Path) -> None:
    target = written(here / "elsewhere", "jobs = 7", "any")
    path = here / "wsgiproof.toml"
    path.symlink_to("elsewhere/any")
    assert configure({}, no_config=False)[1] == path
    told = give_away(target if whose == "target" else target.parent)
    said = "it" if whose == "target" else str(target.parent)
    assert not_used(here, path) == f"{said} {told}"


def test_root_by_sudo_uses_what_is_the_users(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(here, "jobs = 7")
    told = give_away(path)
    monkeypatch.setenv("SUDO_UID", "spam")
    assert not_used(here, path) == f"it {told}"
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    if os.geteuid() == 0:
        assert configure({}, no_config=False)[1] == path
    else:  # anybody can set a variable
        assert not_used(here, path) == f"it {told}"


def test_what_is_no_file_is_not_waited_for(here: Path) -> None:
    os.mkfifo(here / "wsgiproof.toml")
    os.mkfifo(here / "pyproject.toml")
    used = configure({}, no_config=False)[1]
    assert used is None or used.parent != here
    with pytest.raises(UsageError, match="it is not a regular file"):
        load(here / "wsgiproof.toml")
    with pytest.raises(UsageError, match="it is not a regular file"):
        load(Path("/dev/zero"))


def test_a_file_that_is_too_large_is_not_read_whole(here: Path) -> None:
    path = written(here, "jobs = 7")
    os.truncate(path, 30 << 30)
    with pytest.raises(UsageError, match="it is larger than 1,048,576 bytes"):
        configure({}, no_config=False)


def test_a_mongod_in_another_users_file_is_not_run(here: Path, wsgiproof: Runner) -> None:
    """What started it all: a parent directory of another user's, and root listing cells."""
    ran = here / "ran"
    program = here / "mongod"
    program.write_text(f"#!/bin/sh\ntouch {ran}\necho 'db version v7.0.0'\n")
    program.chmod(0o755)
    told = give_away(written(here, "mongodb = './mongod'"))
    ended = wsgiproof("list")
    assert ended.code == 2
    assert told in one_line(ended)
    assert not ran.exists()


# Who wins, and what paths are relative to

LAYERED = """
requests = 100
connections = 10
jobs = 3
mode = "daemon"
[sets.nightly]
requests = 200
connections = 20
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, below which there is a file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_line_wins_over_the_set_and_the_set_over_the_file(here: Path) -> None:
    path = written(here, LAYERED)
    none = {"requests": None, "connections": None, "jobs": None, "mode": ()}
    config, used = configure(none, no_config=False)
    assert (config.requests, config.connections, config.jobs) == (100, 10, 3)
    assert (config.axis("mode"), used) == ((Mode.DAEMON,), path)
    config, _ = configure(none | {"requests": 300}, no_config=False, chosen="nightly")
    assert (config.requests, config.connections, config.jobs) == (300, 20, 3)
    config, used = configure(none | {"mode": ("embedded",)}, no_config=True)
    assert (config.requests, config.jobs, config.axis("mode")) == (None, None, (Mode.EMBEDDED,))
    assert used is None


def test_an_axis_of_the_command_line_takes_the_place_of_the_files(here: Path) -> None:
    written(here, 'pymongo = ["4.15.3", "4.20.0"]')
    config, _ = configure({"pymongo": ("latest",)}, no_config=False)
    assert config.axis("pymongo") == ("latest",)
    config, _ = configure({"pymongo": ()}, no_config=False)
    assert config.axis("pymongo") == ("4.15.3", "4.20.0")


def test_a_flag_that_is_not_given_leaves_its_key_to_the_file(here: Path) -> None:
    written(here, "fail_fast = true\nretry_errors = 2")
    config, _ = configure({"fail_fast": None, "retry_errors": 0}, no_config=False)
    assert (config.fail_fast, config.retry_errors) == (True, 0)


def test_a_file_that_is_named_need_not_be_near(here: Path) -> None:
    written(here, "jobs = 1")
    other = written(here / "elsewhere", "jobs = 2\npymongo = '.'", "other.toml")
    config, used = configure({}, file=other.relative_to(here), no_config=False)
    assert (config.jobs, used) == (2, other.relative_to(here))
    assert config.axis("pymongo") == (str(here / "elsewhere"),)


def test_paths_are_relative_to_the_file_and_those_of_options_to_where_we_are(here: Path) -> None:
    written(
        here,
        'pymongo = [".", "4.20.0"]\nmod_wsgi = ["build/mod_wsgi.so"]\npython = "bin/../python"\n'
        'app = "shop.py"\noutput = "out"\nconstraint = "pins.txt"\nrequirement = "dnspython"\n'
        'mongodb = ["./mongod", "mongodb://a/b", "seven"]\n'
        'mongodb_servers = { seven = "../mongod", far = "mongodb://far/" }\n'
        '[[include]]\npymongo = "../other"\n[[exclude]]\npymongo = "./*"\n'
        '[sets.one]\npymongo = "dist/pymongo.whl"\n',
    )
    below = here / "below"
    below.mkdir()
    loaded = load(here / "wsgiproof.toml")
    config = combine(loaded, "", {})
    assert config.axis("pymongo") == (str(here), "4.20.0")
    assert config.axis("mod_wsgi") == (str(here / "build/mod_wsgi.so"),)
    assert config.axis("python") == (str(here / "python"),)
    assert (config.app, config.output) == (str(here / "shop.py"), str(here / "out"))
    assert config.constraint == str(here / "pins.txt")
    assert config.requirement == ("dnspython",)
    assert config.axis("mongodb") == (str(here / "mongod"), "mongodb://a/b", "seven")
    assert config.names["mongodb_servers"] == {
        "seven": str(here.parent / "mongod"),
        "far": "mongodb://far/",
    }
    assert config.include == (combination(pymongo=(str(here.parent / "other"),)),)
    assert config.exclude[0].axes["pymongo"] == (str(here / "*"),)
    assert combine(loaded, "one", {}).axis("pymongo") == (str(here / "dist/pymongo.whl"),)


def test_the_options_paths(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(here, "jobs = 1")
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    options = {"pymongo": (".", "4.20.0"), "app": "shop.py", "output": "out", "python": ("3.12",)}
    config, _ = configure(options, no_config=False)
    assert config.axis("pymongo") == (str(here / "below"), "4.20.0")
    assert config.axis("python") == ("3.12",)
    assert config.app == str(here / "below" / "shop.py")
    assert config.output == str(here / "below" / "out")


def test_the_home_directory_may_be_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert config_of(here, 'pymongo = "~/driver"').axis("pymongo") == ("/home/ann/driver",)


def test_links_are_left_alone(here: Path) -> None:
    """A program may go by the name that it is called by."""
    (here / "shim").symlink_to("/bin/sh")
    assert config_of(here, 'python = "./shim"').axis("python") == (str(here / "shim"),)


# What may stand in it


def test_one_value_stands_for_a_list(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        'python = "3.12"\ntopology = "none"\nonly = "*daemon*"\n'
        '[[include]]\nmode = "embedded"\n[[overrides]]\ncells = "*"\nrequests = 7\n'
        '[sets.one]\nmpm = "event"\n[[sets.one.exclude]]\nmode = "daemon"\n',
        "one",
    )
    assert (config.axis("python"), config.axis("topology")) == (("3.12",), (Topology.NONE,))
    assert (config.only, config.axis("mpm")) == (("*daemon*",), ("event",))
    assert config.include[0].axes["mode"] == (Mode.EMBEDDED,)
    assert config.overrides == (Override(cells=("*",), requests=7),)
    assert config.exclude == (exclusion(mode=(Mode.DAEMON,)),)


def test_a_set_takes_the_place_of_include_and_exclude(tmp_path: Path) -> None:
    text = (
        '[[include]]\npython = "3.13t"\n[[exclude]]\nmode = "daemon"\nreason = "slow"\n'
        '[sets.bare]\ninclude = []\nexclude = []\n[sets.more]\ninclude = [{ mpm = "event" }]\n'
    )
    whole, bare = config_of(tmp_path, text), config_of(tmp_path, text, "bare")
    assert (len(whole.include), whole.exclude[0].reason) == (1, "slow")
    assert (bare.include, bare.exclude) == ((), ())
    more = config_of(tmp_path, text, "more")
    assert (more.include, len(more.exclude)) == ((combination(mpm=(Mpm.EVENT,)),), 1)


@pytest.mark.parametrize("name", ["python", "mode", "only", "cells", "include", "sets", "output"])
def test_a_server_and_a_set_may_have_the_name_of_a_key(name: str, tmp_path: Path) -> None:
    text = f'mongodb_servers = {{ {name} = "/opt/mongod" }}\n[sets.{name}]\njobs = 7\n'
    config = config_of(tmp_path, text, name)
    assert (config.names["mongodb_servers"], config.jobs) == ({name: "/opt/mongod"}, 7)


def test_a_control_of_the_file_brings_what_it_takes(here: Path) -> None:
    """As one of the command line does."""
    control = next(one for one in CONTROLS.values() if one.maximum_requests)
    written(here, f'control = "{control.name}"')
    config, _ = configure({}, no_config=False)
    assert config.maximum_requests == control.maximum_requests
    config, _ = configure({"control": control.name}, no_config=True)
    assert config.maximum_requests == control.maximum_requests


# Mistakes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('pythn = "3.12"', "there is no key 'pythn'; did you mean 'python'?"),
        ("mod-wsgi = '5.0.2'", "there is no key 'mod-wsgi'; did you mean 'mod_wsgi'?"),
        ("mode = 'deamon'", "'deamon' is not a value of 'mode'; did you mean 'daemon'?"),
        ("mpm = ['prefork', 'spoon']",
         "'spoon' is not a value of 'mpm'; there is prefork, worker, event"),
        ("interpreter = 'own_gil'",
         "'own_gil' is not a value of 'interpreter'; did you mean 'own-gil'?"),
        ("profile = 'ful'", "'ful' is not a value of 'profile'; did you mean 'full'?"),
        ("[[include]]\nreason = 'x'",
         "there is no key 'reason' in 'include'; 'wsgiproof init' writes a file with every key"),
        ("[[exclude]]\nreasn = 'x'",
         "there is no key 'reasn' in 'exclude'; did you mean 'reason'?"),
        ("[[exclude]]\ntopology = 'replicaset'",
         "'replicaset' is not a value of 'topology'; did you mean 'replica-set'?"),
        ("[[overrides]]\ncell = '*'\n",
         "there is no key 'cell' in 'overrides'; did you mean 'cells'?"),
        ("[[overrides]]\nrequests = 7", "there has to be a key 'cells' in 'overrides'"),
        ("[[overrides]]\ncells = '*'\nprofile = 'fast'",
         "'fast' is not a value of 'overrides.profile'; there is quick, full"),
        ("[sets.pr]\njob = 2", "there is no key 'job' in 'sets'; did you mean 'jobs'?"),
        ("[sets.pr]\nmode = 'embeded'",
         "'embeded' is not a value of 'mode'; did you mean 'embedded'?"),
        ("[[sets.pr.include]]\nmpms = 'event'",
         "there is no key 'mpms' in 'sets.include'; did you mean 'mpm'?"),
        ("[sets.pr.sets.deeper]\njobs = 2",
         "there is no key 'sets' in 'sets': a set can't contain sets"),
        ("python = 3.12", "a text in quotes is needed in 'python', not a number"),
        ("python = ['3.12', 3]", "a text in quotes is needed in 'python', not a whole number"),
        ("jobs = '2'", "a whole number is needed in 'jobs', not a text in quotes"),
        ("jobs = 2.5", "a whole number is needed in 'jobs', not a number"),
        ("max_seconds = 2026-11-23", "a number is needed in 'max_seconds', not a date"),
        ("fail_fast = 'yes'", "true or false is needed in 'fail_fast', not a text in quotes"),
        ("[include]\nmode = 'daemon'", "a list is needed in 'include', not a table"),
        ("sets = 3", "a table is needed in 'sets', not a whole number"),
        ("[mode]\nx = 1", "a text in quotes is needed in 'mode', not a table"),
        ("jobs = 0", "--jobs 0: it has to be from 1 to 256"),
        ("[sets.pr]\njobs = 1000", "--jobs 1000: it has to be from 1 to 256"),
        ("max_seconds = nan", "--max-seconds nan: it has to be from 1 to 604,800"),
        ("[[overrides]]\ncells = '*'\nrequests = 0",
         "--requests 0: it has to be from 1 to 100,000,000"),
        ("app = 'a.py'\ncontrol = 'leak-cursor'", "--app and --control exclude each other"),
        ("pymongo = './a\\u0000b'".replace("'", '"'), "'./a?b' can't be a path: "),
        ("output = 'a\\u0000b'".replace("'", '"'), "'a?b' can't be a path: "),
        ("python = 3.12.1", "it is not TOML: "),
        ("jobs = 1\njobs = 2", "it is not TOML: "),
        ("x = " + "[" * 5000, "it is not TOML: "),
        (f"jobs = {'9' * 5000}", "it is not TOML: "),
        ("a" + ".a" * 1500 + " = 1", "there is no key 'a'"),
        ("sets.a." * 1500 + "jobs = 1", "its tables are nested too deeply"),
        ('"new\\nline\\u001b[31m" = 1', "there is no key 'new line?[31m'"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_with_what_would_be_right(
    text: str, told: str, tmp_path: Path
) -> None:
    message = refused(tmp_path, text)
    assert message.startswith(told)
    assert message == told or told.endswith((": ", "other", "'", "deep"))


def test_what_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "wsgiproof.toml"
    path.write_bytes(b"jobs = 1 # \xe9t\xe9")
    with pytest.raises(UsageError, match="it is not UTF-8, as TOML has to be") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "nothing.toml")
    assert str(caught.value) == f"No such file or directory: {tmp_path / 'nothing.toml'}"


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ("nighty", "--set nighty: PATH has no such set; did you mean 'nightly'?"),
        ("x", "--set x: PATH has no such set; there is nightly, pr"),
        ("sets", "--set sets: PATH has no such set; there is nightly, pr"),
    ],
)
def test_a_set_that_is_not_there(chosen: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        config_of(tmp_path, "[sets.nightly]\n[sets.pr]\n", chosen)
    assert str(caught.value) == told.replace("PATH", str(tmp_path / "wsgiproof.toml"))


def test_a_set_without_a_file() -> None:
    with pytest.raises(UsageError, match=r"--set pr: no configuration file is used"):
        combine(None, "pr", {})


def test_a_set_and_an_option_that_make_no_sense_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--app and --control exclude each other"):
        config_of(tmp_path, "app = 'shop.py'", control="leak-cursor")


@pytest.mark.parametrize("value", ["./\ud800", "a/\0", "\udc80.whl"])
def test_an_option_that_is_no_path(value: str, here: Path) -> None:
    with pytest.raises(UsageError) as caught:
        configure({"pymongo": (value,)})
    assert str(caught.value).isprintable()


# The same through the command


@pytest.fixture
def wsgiproof(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runner]:
    yield Runner(capfd, monkeypatch)


@pytest.mark.parametrize("command", ["run", "list"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pythn = '3.12'", "there is no key 'pythn'; did you mean 'python'?"),
        ("mode = 'deamon'", "'deamon' is not a value of 'mode'; did you mean 'daemon'?"),
        ("jobs = ", "it is not TOML: Invalid value (at end of document)"),
        (
            '"a\\nb\\u001b" = 1',
            "there is no key 'a b?'; 'wsgiproof init' writes a file with every key",
        ),
    ],
)
def test_a_mistake_is_exit_code_2_and_one_line(
    command: str, text: str, told: str, here: Path, wsgiproof: Runner
) -> None:
    path = written(here, text)
    ended = wsgiproof(command)
    assert ended.code == 2
    assert one_line(ended).startswith(f"{path}: {told}")
    again = wsgiproof(command, "--no-config", "--set", "pr")
    assert again.code == 2
    assert one_line(again).startswith("--set pr: no configuration file is used: 'wsgiproof init'")


def test_the_set_of_the_command_line(here: Path, wsgiproof: Runner) -> None:
    path = written(here, "[sets.pr]\njobs = 2")
    ended = wsgiproof("list", "--set", "prs")
    told = f"--set prs: {path} has no such set; did you mean 'pr'?"
    assert (ended.code, one_line(ended)) == (2, told)


# Whatever is in it

KEYS = [*ALL_AXES, *Config.__struct_fields__]
NAMES = some.sampled_from([*KEYS, "cells", "reason", "sets"]) | some.text(max_size=5)


def _text(value: Any) -> str:
    """``value`` in TOML."""
    if isinstance(value, str):
        safe = (c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in value)
        return f'"{"".join(safe)}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        pairs = (f"{_text(key)} = {_text(one)}" for key, one in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)


_SCALARS = (
    some.text(max_size=8)
    | some.sampled_from(["daemon", "none", "full", "../x", "~/y", "./z\0", "mongodb://h/", "*", ""])
    | some.booleans()
    | some.integers()
    | some.integers(-5, 300)
    | some.integers(10**70, 10**80)
    | some.floats()
    | some.dates()
    | some.times()
    | some.datetimes(timezones=some.just(UTC))
)
_VALUES = some.recursive(
    _SCALARS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)
_WORDS = some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
_AXIS_VALUES = {
    "topology": some.sampled_from(["standalone", "replica-set", "none"]),
    "mode": some.sampled_from(["daemon", "embedded"]),
    "mpm": some.sampled_from(["prefork", "worker", "event"]),
    "interpreter": some.sampled_from(["main", "shared-gil", "own-gil", "free-threaded"]),
    "loading": some.sampled_from(["eager", "lazy"]),
    "transport": some.sampled_from(["plain", "tls"]),
    "workload": some.sampled_from(["crud", "gridfs"]),
}
_GOOD_TABLE = some.fixed_dictionaries(
    {},
    optional={axis: some.lists(_AXIS_VALUES.get(axis, _WORDS), max_size=2) for axis in ALL_AXES},
)
_GOOD = some.fixed_dictionaries(
    {},
    optional={
        "include": some.lists(_GOOD_TABLE, max_size=2),
        "exclude": some.lists(_GOOD_TABLE, max_size=2),
        "overrides": some.lists(
            some.fixed_dictionaries({"cells": some.text(max_size=4)}), max_size=2
        ),
        "mongodb_servers": some.dictionaries(some.sampled_from(KEYS), _WORDS, max_size=2),
        "requests": some.integers(1, 1000),
        "sets": some.dictionaries(NAMES, _GOOD_TABLE, max_size=2),
    },
)
_DOCUMENTS = some.builds(
    lambda good, axes, bad: {**axes, **good, **bad},
    _GOOD,
    _GOOD_TABLE,
    some.dictionaries(NAMES, _VALUES, max_size=2),
)


def outcome(text: str) -> Loaded | str:
    """What comes of a file: it was read and makes sense, or it is told in one line what is wrong.

    A surprise is an exception, and fails the test.
    """
    with tempfile.TemporaryDirectory(prefix="wsgiproof-test-") as directory:
        path = written(Path(directory), text)
        try:
            loaded = load(path)
        except UsageError as error:
            assert str(error).isprintable()
            assert str(error).startswith(str(path))
            return str(error)
        for chosen in ("", *loaded.values.get("sets", {})):
            try:
                combine(loaded, chosen, {}).plan("any")
            except UsageError as error:
                assert str(error).isprintable()
        return loaded


@settings(deadline=None, derandomize=True, max_examples=150)
@given(some.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    outcome(text)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(some.text(alphabet="=[]{}.\"'\n,# #azsetxincludmo_0123456789tfgr-:+\\\x1b"))
def test_any_text_that_looks_like_toml_is_read_or_refused(text: str) -> None:
    outcome(text)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(_DOCUMENTS)
def test_any_values_are_read_or_refused(document: dict[str, Any]) -> None:
    outcome("\n".join(f"{_text(key)} = {_text(value)}" for key, value in document.items()))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(_GOOD_TABLE, _GOOD)
def test_good_values_are_read(axes: dict[str, Any], good: dict[str, Any]) -> None:
    """So that the tests above can't pass by refusing everything."""
    document = {**axes, **good}
    read = outcome("\n".join(f"{key} = {_text(value)}" for key, value in document.items()))
    assert isinstance(read, Loaded), read
    values = {key: value for key, value in read.values.items() if key not in ("axes", "names")}
    axes, names = read.values.get("axes", {}), read.values.get("names", {})
    assert {*values, *axes, *names} == set(document)


# The starter


def uncommented(text: str) -> str:
    """With each key in force: its ``#`` is followed by no blank."""
    return re.sub(r"^#(?=[a-z_\[])", "", text, flags=re.MULTILINE)


def test_the_starter_changes_nothing_as_it_is(tmp_path: Path) -> None:
    assert config_of(tmp_path, starter()) == configured()


def test_the_starter_has_every_key_and_loads_with_all_of_them(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, uncommented(starter())))
    assert set(loaded.values) == set(ConfigFile.__struct_fields__)
    assert set(loaded.values["axes"]) == set(ALL_AXES)
    assert set(loaded.values["names"]) == set(TABLES_OF_NAMES)
    for chosen in ("", "nightly"):
        combine(loaded, chosen, {}).plan("any")
    (override,) = loaded.values["overrides"]
    assert set(override) == set(Override.__struct_fields__)
    (left_out,) = loaded.values["exclude"]
    assert "reason" in left_out
    (known,) = loaded.values["known"]
    assert set(known) == set(KnownTable.__struct_fields__)


def test_each_key_of_the_starter_has_a_line_on_what_it_does() -> None:
    lines = starter().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#([a-z_]+ =|\[)", line) and not lines[number - 1].startswith("#["):
            block = lines[:number][::-1]
            above = next(one for one in block if not re.match(r"#[a-z_]", one))
            assert above.startswith(("# ", "#[")), line


@pytest.mark.parametrize(
    ("text", "options", "load"),
    [
        ("sensitivity = 500", {"profile": "full"}, (50_000, 0)),
        ("requests = 1000", {"sensitivity": 500}, (2702, 500)),
        ("sensitivity = 500", {"requests": 100}, (100, 0)),
        ("requests = 1000", {"profile": "full"}, (1000, 0)),
    ],
)
def test_an_option_replaces_how_much_load_the_file_asks_for(
    tmp_path: Path, text: str, options: dict[str, Any], load: tuple[int, int]
) -> None:
    plan = combine(load_of(tmp_path, text), "", options).plan()
    assert (plan.parallel + plan.serial, plan.sensitivity) == load


def load_of(tmp_path: Path, text: str) -> Loaded:
    loaded = load(written(tmp_path, text))
    assert loaded is not None
    return loaded


def test_where_the_starter_shows_a_default_it_is_the_default(tmp_path: Path) -> None:
    shown = combine(load(written(tmp_path, uncommented(starter()))), "", {})
    examples = {
        "names",
        *("include", "exclude", "overrides", "known", "sets"),
        *("only", "requests", "connections", "extra_requests", "max_seconds", "output", "jobs"),
        *("requirement", "constraint", "directive", "expect_status", "expect_body", "home"),
        *(
            "httpd",
            "apxs",
            "max_latency",
            "max_file_growth",
            "crash_bound",
            "dask",
            "sensitivity",
            "url",
        ),
    }
    for key in Config.__struct_fields__:
        if key != "axes":
            assert (getattr(shown, key) == getattr(Config(), key)) == (key not in examples), key
    for name, axis in ALL_AXES.items():
        assert (shown.axis(name) == axis.default) == (axis.default != ("",)), name
    plan = configured().plan()
    assert shown.requests == plan.parallel + plan.serial
    assert (shown.extra_requests, shown.sensitivity) == (plan.extra_requests, plan.sensitivity)
    assert shown.connections == plan.connections
    assert shown.crash_bound == plan.crash_bound
    assert shown.only == ("*",)


def test_init_writes_the_starter_and_nothing_over_a_file(here: Path, wsgiproof: Runner) -> None:
    path = here / "wsgiproof.toml"
    ended = wsgiproof("init")
    assert (ended.code, ended.stderr) == (0, "")
    assert str(path) in ended.stdout
    assert path.read_text() == starter()
    path.write_text("jobs = 7")
    again = wsgiproof("init")
    assert (again.code, path.read_text()) == (2, "jobs = 7")
    assert one_line(again) == f"{path} exists: --force overwrites it"
    assert wsgiproof("init", "--force").code == 0
    assert path.read_text() == starter()


# The schema


def test_the_committed_schema_is_what_the_code_makes(wsgiproof: Runner) -> None:
    ended: Ended = wsgiproof("init", "--schema")
    assert ended.code == 0
    committed = (DOCS / "wsgiproof.schema.json").read_text()
    assert ended.stdout == committed, "wsgiproof init --schema > docs/wsgiproof.schema.json"


def valid(document: dict[str, Any]) -> bool:
    checker = jsonschema.Draft202012Validator(schema())
    checker.check_schema(schema())
    return bool(checker.is_valid(document))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"python": "3.12", "mode": "daemon", "only": "*", "topology": ["none"]},
        {"include": [{"mpm": "event"}], "exclude": [{"mode": ["daemon"], "reason": "x"}]},
        {"overrides": [{"cells": "*", "requests": 7}], "mongodb_servers": {"a": "/b"}},
        {"sets": {"pr": {"python": "3.12", "include": [{"interpreter": "own-gil"}]}}},
        {"max_seconds": 1.5, "fail_fast": True, "profile": "full", "jobs": 2},
    ],
)
def test_the_schema_accepts_what_the_code_does(document: dict[str, Any], tmp_path: Path) -> None:
    assert valid(document)
    config_of(tmp_path, "\n".join(f"{key} = {_text(value)}" for key, value in document.items()))


@pytest.mark.parametrize(
    "document",
    [
        {"pythn": "3.12"},
        {"mode": "sideways"},
        {"mode": ["daemon", "sideways"]},
        {"python": 3.12},
        {"python": ["3.12", 3.12]},
        {"jobs": "2"},
        {"jobs": 2.5},
        {"include": {"mode": "daemon"}},
        {"include": [{"reason": "x"}]},
        {"overrides": [{"requests": 7}]},
        {"overrides": [{"cells": "*", "profile": "fast"}]},
        {"sets": {"pr": {"sets": {}}}},
        {"sets": {"pr": {"modes": "daemon"}}},
        {"mongodb_servers": {"a": 1}},
    ],
)
def test_the_schema_refuses_what_the_code_does(document: dict[str, Any], tmp_path: Path) -> None:
    assert not valid(document)
    refused(tmp_path, "\n".join(f"{key} = {_text(value)}" for key, value in document.items()))


def test_the_schema_describes_every_key() -> None:
    keys = schema()["$defs"]["ConfigFile"]["properties"]
    fields = {*ConfigFile.__struct_fields__} - {"axes", "names"}
    assert set(keys) == {*fields, *ALL_AXES, *TABLES_OF_NAMES}
    assert all(key["description"] for key in keys.values())


def test_the_starter_is_valid() -> None:
    assert valid(tomllib.loads(uncommented(starter())))
    assert Profile.FULL in starter()
