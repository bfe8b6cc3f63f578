"""PyMongo from a git repository: real git, over TLS, from a server that may be hostile."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.unit import test_plan
from tests.unit.git_server import git_server
from tests.unit.test_plan import ids, listed
from tests.unit.test_source import BACKEND, PROJECT, PYTHON, found, metadata
from wsgiproof.errors import CannotRun, DeadlineExceeded, PrerequisiteMissing, UsageError
from wsgiproof.process.commands import Completed
from wsgiproof.provision import git
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.git import _parsed, fetch_source
from wsgiproof.provision.source import exact_value, find_source
from wsgiproof.records.cell import version_label
from wsgiproof.subjects.axis import absolute

WHO = {
    "GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x@x", "GIT_COMMITTER_NAME": "x",
    "GIT_COMMITTER_EMAIL": "x@x", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": "/",
}  # fmt: skip


index = test_plan.index


class Repository:
    """The driver's, as its author sees it."""

    def __init__(self, directory: Path) -> None:
        self.tree = directory
        (directory / "pymongo").mkdir(parents=True)
        (directory / "pyproject.toml").write_text(PROJECT)
        (directory / "backend.py").write_text(BACKEND)
        (directory / "PKG-INFO.in").write_bytes(metadata())
        (directory / "pymongo" / "__init__.py").write_text("")
        self.git("init", "--quiet", "--initial-branch", "main")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=self.tree,
            env={"PATH": os.environ["PATH"], **WHO},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, version: str) -> str:
        (self.tree / "PKG-INFO.in").write_bytes(metadata(version=version))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", version)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "served" / "driver")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    certificates = tmp_path / "authority.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    (tmp_path / "served").mkdir(exist_ok=True)
    with git_server(tmp_path / "served", certificates) as url:
        yield url


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def forgotten() -> None:
    git._look_up.cache_clear()


def test_a_branch_is_its_commit_now_and_the_commit_is_that_for_ever(
    repository: Repository, server: str, cache: Cache
) -> None:
    first = repository.commit("4.21.0")
    repository.git("tag", "--annotate", "--message", "x", "v4.21")
    url = f"git+{server}/driver"
    source = found(f"{url}@main", cache)
    assert (source.version, source.commit, source.path) == ("4.21.0", first, url)
    assert Path(source.archive).is_relative_to(cache.root)
    assert exact_value(source) == f"{url}@{first}"
    assert version_label("pymongo", source.version, source.path, first).endswith(f"+g{first[:7]}")

    second = repository.commit("4.22.0.dev0")
    assert found(f"{url}@main", cache).commit == first, "one run means one commit"
    git._look_up.cache_clear()
    assert found(f"{url}@main", cache).version == "4.22.0.dev0"
    assert found(url, cache).commit == second, "without a name it is that of HEAD"
    assert found(f"{url}@v4.21", cache) == source == found(exact_value(source), cache)
    told = refused_package(exact_value(source), cache)
    assert told.endswith("is the source of pymongo, not of mod-wsgi")


def test_a_branch_is_looked_up_once_however_many_ask_at_once(
    repository: Repository, server: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("4.21.0")
    asked: list[str] = []
    run = git._Git.run

    def counted(self: git._Git, *arguments: str, **options: Any) -> Completed:
        asked.append(arguments[0])
        return run(self, *arguments, **options)

    monkeypatch.setattr(git._Git, "run", counted)
    with ThreadPoolExecutor(4) as pool:
        wanted = [f"git+{server}/driver@main"] * 4
        sources = list(pool.map(fetch_source, wanted, [cache] * 4))
    assert sources == sources[:1] * 4
    assert asked.count("ls-remote") == asked.count("fetch") == 1


def test_a_plan_has_the_commit_of_a_branch(
    index: Path, repository: Repository, server: str, tmp_path: Path
) -> None:
    first = repository.commit("4.21.0")
    asked: dict[str, Any] = {"pymongo": (f"git+{server}/driver@main",)}
    plan = listed(tmp_path, **asked)
    (one,) = (one for one in plan.resolved if one.axis == "pymongo")
    assert one.exact == f"git+{server}/driver@{first}"
    assert f"pymongo4.21.0+g{first[:7]}" in plan.cells[0].id
    repository.commit("4.21.0")
    git._look_up.cache_clear()
    assert ids(listed(tmp_path, plan, **asked)) == ids(plan)
    assert ids(listed(tmp_path, **asked)) != ids(plan)


def refused_package(value: str, cache: Cache) -> str:
    with pytest.raises(UsageError) as caught:
        find_source("mod-wsgi", value, PYTHON, cache)
    return str(caught.value)


def test_what_is_cached_needs_no_server(repository: Repository, server: str, cache: Cache) -> None:
    commit = repository.commit("4.21.0")
    value = f"git+{server}/driver@{commit}"
    source = found(value, cache)
    shutil.rmtree(repository.tree)
    assert found(value, Cache(cache.root)) == source


def test_a_server_that_gives_only_branches_gives_a_commit_of_one(
    repository: Repository, server: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repository.commit("4.21.0")
    repository.commit("4.22.0")
    asked: list[tuple[str, ...]] = []
    run = git._Git.run

    def refusing(self: git._Git, *arguments: str, **options: object) -> object:
        asked.append(arguments)
        given = ("no-such-command",) if "--depth" in arguments else arguments
        return run(self, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(git._Git, "run", refusing)
    assert found(f"git+{server}/driver@{first}", cache).version == "4.21.0"
    assert [words[0] for words in asked] == ["init", "fetch", "fetch", "cat-file", "archive"]


def test_git_runs_as_nobody_with_nobodys_configuration_and_no_secret(
    repository: Repository,
    server: str,
    cache: Cache,
    tmp_path: Path,
    open_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository.commit("4.21.0")
    home = tmp_path / "home"
    home.mkdir()
    owned = open_tmp / "owned"
    (home / ".gitconfig").write_text(
        f"[credential]\n\thelper = !touch {owned}\n[core]\n\tfsmonitor = touch {owned}\n"
        f'[url "https://no-such-host.invalid/"]\n\tinsteadOf = {server}/\n'
    )
    for name, value in (("HOME", str(home)), ("TOKEN", "hush"), ("GIT_DIR", "/"), ("PAGER", "x")):
        monkeypatch.setenv(name, value)
    told = open_tmp / "told"
    told.touch()
    told.chmod(0o666)
    real = shutil.which("git")
    (open_tmp / "git").write_text(f'#!/bin/sh\n(id -u; env) >> {told}\nexec {real} "$@"\n')
    (open_tmp / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{open_tmp}:{os.environ['PATH']}")
    assert found(f"git+{server}/driver@main", cache).version == "4.21.0"
    users = {line for line in told.read_text().splitlines() if line.isdigit()}
    assert users
    if os.geteuid() == 0:
        assert "0" not in users
    assert not {"TOKEN", "GIT_DIR", "PAGER"} & {
        line.partition("=")[0] for line in told.read_text().splitlines()
    }
    assert not owned.exists()


def test_files_of_a_hostile_repository_run_nothing_and_stay_inside(
    repository: Repository, server: str, cache: Cache
) -> None:
    """Attributes name filters, which only a configuration defines. A link may lead anywhere."""
    (repository.tree / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (repository.tree / "inside").symlink_to("pymongo")
    repository.commit("4.21.0")
    assert found(f"git+{server}/driver", cache).version == "4.21.0"
    (repository.tree / "escape").symlink_to("/etc")
    repository.commit("4.21.0")
    with pytest.raises(UsageError, match="is not unpacked because it is not safe"):
        found(f"git+{server}/driver@main", cache)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/nothing@main", "nothing can't be read: "),
        ("/secret/driver@main", "secret/driver can't be read: fatal: could not read Username"),
        ("/elsewhere/driver@main", "elsewhere/driver can't be read: fatal: "),
        ("/driver@no-such-branch", "driver has no branch and no tag no-such-branch"),
        (f"/driver@{'0' * 39}1", f"driver has no commit {'0' * 39}1"),
    ],
)
def test_what_can_not_be_had_is_refused_in_one_line(
    path: str, why: str, repository: Repository, server: str, cache: Cache
) -> None:
    """Nothing is asked, and no redirection leads to a protocol that others can change."""
    repository.commit("4.21.0")
    with pytest.raises((CannotRun, UsageError)) as caught:
        fetch_source(f"git+{server}{path}", cache)
    assert f"{server}/{why}" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_server_that_never_answers_is_given_up(
    server: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "_LOOKUP_DEADLINE", 1.0)
    with pytest.raises(DeadlineExceeded, match="was still running after 1 s and has been killed"):
        fetch_source(f"git+{server}/never@main", cache)


def test_a_server_that_nobody_vouches_for(
    repository: Repository, server: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("4.21.0")
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(CannotRun, match="certificate"):
        fetch_source(f"git+{server}/driver@main", cache)


def test_git_is_asked_for_where_it_is_missing(
    server: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(PrerequisiteMissing, match="apt-get install git"):
        fetch_source(f"git+{server}/driver", cache)


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("git+https://x.org/a/b.git", ("https://x.org/a/b.git", "HEAD")),
        ("git+https://x.org:8443/a/b@main", ("https://x.org:8443/a/b", "main")),
        ("git+https://x.org/a/b@feature/x+y-1.2", ("https://x.org/a/b", "feature/x+y-1.2")),
    ],
)
def test_what_names_a_repository(value: str, parsed: tuple[str, str]) -> None:
    assert _parsed(value) == parsed
    assert absolute(value, Path("/work")) == value, "it is not a path"


@pytest.mark.parametrize(
    "value",
    [
        *("git+http://x.org/a/b", "git+ssh://git@x.org/a/b", "git+file:///a/b", "git+/a/b", "git+"),
        *("git+https://user@x.org/a", "git+https://u:p@x.org/a", "git+https://x.org", "git+ext::x"),
        *("git+https://x.org/a@-b", "git+https://x.org/a@", "git+https://x.org/a@b..c"),
        *("git+https://x.org/a@b@c", "git+https://x.org/a@b c", "git+https://x.org/a@{u}"),
        *("git+https://x.org/a@b.lock", "git+https://x.org/a@b/", "git+https://x.org/a\n@b"),
        *("git+https://x.org/a@b/.c", "git+https://x.org/a#egg=b", "git+https://-x/a@b;touch"),
    ],
)
def test_what_names_none(value: str) -> None:
    with pytest.raises(UsageError, match="is not a git repository: give git") as caught:
        _parsed(value)
    assert "u:p" not in str(caught.value)
