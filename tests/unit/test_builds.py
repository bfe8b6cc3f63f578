"""The cache from the command line, and the builds that a matrix needs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from wsgiproof.cli import cli
from wsgiproof.cli.options import configure
from wsgiproof.provision.assemble import toolchain_builds
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.toolchain import BuildSpec, Httpd, Python, Source

DAY = 86_400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("WSGIPROOF_CACHE", str(tmp_path / "cache"))
    return Cache()


def build(directory: Path) -> None:
    (directory / "file").write_bytes(bytes(1000))


def built(cache: Cache, version: str, *, kind: str = "mod_wsgi", days: float = 0) -> Path:
    """An entry that was last used so many days ago."""
    path = cache.entry(
        kind,
        {
            "version": version,
            "python": "3.13.0",
            "interpreter": "/opt/python",
            "free-threaded": "True",
        },
        build,
    )
    marker = path / "wsgiproof-entry.json"
    then = marker.stat().st_mtime - days * DAY
    os.utime(marker, (then, then))
    return path


def said(*words: str) -> Result:
    return CliRunner().invoke(cli, ["cache", *words])


def test_the_list_says_what_each_entry_is_for(cache: Cache) -> None:
    built(cache, "6.1.1")
    built(cache, "5.0.2", days=20)
    text = said("list").output
    assert "6.1.1-" in text
    assert "Python 3.13.0t, /opt/python" in text
    assert "20 d ago" in text
    assert f"2 entries in {cache.root}, 2.0 kB" in text
    found = json.loads(said("list", "--json").output)
    assert [(one["kind"], one["state"], one["bytes"]) for one in found] == [
        ("mod_wsgi", "built", 1000),
        ("mod_wsgi", "built", 1000),
    ]


def test_an_empty_cache_is_said_to_be_empty(cache: Cache) -> None:
    assert said("list").output == f"0 entries in {cache.root}, 0 bytes\n"
    assert said("verify").output == "0 of 0 entries unchanged since they were built\n"
    assert said("prune").output == "0 entries removed, 0 bytes; 0 kept\n"


def test_old_entries_are_removed_and_others_stay(cache: Cache) -> None:
    new, old = built(cache, "6.1.1", days=29), built(cache, "5.0.2", days=31)
    dry = said("prune", "--dry-run").output
    assert "1 entry would be removed, 1.0 kB; 1 kept" in dry
    assert old.exists()
    assert "1 entry removed, 1.0 kB; 1 kept" in said("prune").output
    assert new.exists()
    assert not old.exists()


def test_entries_of_one_kind_are_removed(cache: Cache) -> None:
    module, environment = built(cache, "1"), built(cache, "1", kind="environment")
    said("prune", "--kind", "environment", "--unused-for", "0")
    assert module.exists()
    assert not environment.exists()


def test_what_is_damaged_or_half_built_is_reported_and_removed(cache: Cache) -> None:
    good, damaged, half = built(cache, "1"), built(cache, "2"), built(cache, "3")
    (damaged / "file").write_text("other")
    (half / "wsgiproof-entry.json").unlink()
    result = said("verify")
    assert result.exit_code == 3
    assert f"damaged    {damaged}" in result.output
    assert f"unfinished {half}" in result.output
    assert "1 of 3 entries unchanged since they were built" in result.output
    said("prune")
    assert good.exists()
    assert not damaged.exists()
    assert not half.exists()
    assert said("verify").exit_code == 0


PYTHON = Python(
    version="3.13.0",
    path="/opt/python",
    prefix="/opt",
    shared=True,
    headers=True,
    stdlib="/opt/lib",
    free_threaded=False,
    build="main, Nov 1",
)
HTTPD = Httpd(
    version="2.4.71",
    build="2.4.71 of today",
    httpd=Path("/usr/sbin/apache2"),
    apxs=Path("/usr/bin/apxs"),
    modules=Path("/usr/lib/apache2/modules"),
    static=frozenset(),
    mpms=(),
)


def spec(mod_wsgi: str, pymongo: str, python: Python = PYTHON) -> BuildSpec:
    return BuildSpec(
        python=python,
        mod_wsgi=Source(version=mod_wsgi),
        packages={"pymongo": Source(version=pymongo)},
    )


def test_what_several_cells_share_is_built_once(cache: Cache) -> None:
    wanted = [spec("6.1.1", "4.20.0"), spec("6.1.1", "4.15.3"), spec("5.0.2", "4.20.0")]
    needed = [(one, HTTPD) for one in wanted]
    assert [build.title for build in toolchain_builds(needed, cache)] == [
        "mod_wsgi 6.1.1 for Python 3.13.0",
        "pymongo 4.20.0 for Python 3.13.0",
        "pymongo 4.15.3 for Python 3.13.0",
        "mod_wsgi 5.0.2 for Python 3.13.0",
    ]


def test_each_apache_has_a_module_of_its_own_and_they_share_the_environment(cache: Cache) -> None:
    copied = msgspec.structs.replace(HTTPD, apxs=Path("/opt/apache/bin/apxs"))
    needed = [(spec("6.1.1", "4.20.0"), httpd) for httpd in (HTTPD, copied, HTTPD)]
    assert [build.title for build in toolchain_builds(needed, cache)] == [
        "mod_wsgi 6.1.1 for Python 3.13.0",
        "pymongo 4.20.0 for Python 3.13.0",
        "mod_wsgi 6.1.1 for Python 3.13.0",
    ]


def test_another_build_of_python_apache_or_the_flags_is_another_module(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(python: Python = PYTHON, httpd: Httpd = HTTPD) -> str:
        module, _ = toolchain_builds([(spec("6.1.1", "4.20.0", python), httpd)], cache)
        return json.dumps(module.key, sort_keys=True)

    keys = {
        key(),
        key(python=msgspec.structs.replace(PYTHON, build="main, Dec 2")),
        key(httpd=msgspec.structs.replace(HTTPD, build="2.4.71 of tomorrow")),
    }
    monkeypatch.setenv("CFLAGS", "-O0")
    assert len({*keys, key()}) == 4
    assert key() == key()


def test_the_variable_of_the_recipe_names_a_module_where_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert configure({})[0].axis("mod_wsgi") == ("",)
    monkeypatch.setenv("MOD_WSGI_SO", "/opt/mod_wsgi.so")
    assert configure({})[0].axis("mod_wsgi") == ("/opt/mod_wsgi.so",)
    assert configure({"mod_wsgi": ("5.0.2",)})[0].axis("mod_wsgi") == ("5.0.2",)
    file = tmp_path / "wsgiproof.toml"
    file.write_text('mod_wsgi = "6.1.1"\n')
    assert configure({}, file=file, no_config=False)[0].axis("mod_wsgi") == ("6.1.1",)
