"""A source tree of mod_wsgi before 4: a small one, which is configured and made as a real one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from wsgiproof.errors import BuildFailed, UsageError
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.modwsgi import mod_wsgi_build, module_in
from wsgiproof.provision.source import find_source
from wsgiproof.provision.toolchain import Httpd, Python, Source

CODE = """\
#define AP_SERVER_MINORVERSION_NUMBER 3
#define MOD_WSGI_VERSION_STRING "3.5"
const char *version = MOD_WSGI_VERSION_STRING;
"""
CONFIGURE = r"""#!/bin/sh
for word; do case $word in --with-apxs=/*/apxs | --with-python=/*) ;; *) exit 1 ;; esac; done
mkdir .libs
printf 'all:\n\tcc -shared -fPIC -o .libs/mod_wsgi.so mod_wsgi.c %s\n' "$LDFLAGS" > Makefile
"""
PYTHON = Python(
    version="2.7.18", path=sys.executable, prefix="/opt/python-2.7", shared=True, headers=True,
    stdlib="/l", free_threaded=False, name="2.7",
)  # fmt: skip
HTTPD = Httpd(
    version="2.4.62", build="", httpd=Path("/usr/sbin/httpd"), apxs=Path("/usr/bin/apxs"),
    modules=Path("/m"), static=frozenset(), mpms=(),
)  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    directory = tmp_path / "mod_wsgi"
    directory.mkdir()
    (directory / "configure").write_text(CONFIGURE)
    (directory / "mod_wsgi.c").write_text(CODE)
    return directory


def found(path: Path, cache: Cache) -> Source:
    source = find_source("mod-wsgi", str(path), PYTHON, cache)
    assert isinstance(source, Source), source
    return source


def built(source: Source, cache: Cache, python: Python = PYTHON) -> Path:
    return module_in(cache.get(mod_wsgi_build(source, python, HTTPD, cache)))


def test_a_tree_is_found_and_built(tree: Path, cache: Cache) -> None:
    before = sorted(tree.rglob("*"))
    source = found(tree, cache)
    assert (source.version, source.path) == ("3.5", str(tree))
    content = built(source, cache).read_bytes()
    assert content.startswith(b"\x7fELF")
    assert b"\x003.5\0" in content
    assert b"/opt/python-2.7/lib\0" in content, "where the loader finds libpython"
    assert sorted(tree.rglob("*")) == before, "it is built elsewhere"


def test_an_archive_of_a_tree_is_the_same(tree: Path, cache: Cache, tmp_path: Path) -> None:
    path = shutil.make_archive(str(tmp_path / "3.5"), "gztar", tree.parent, tree.name)
    source = found(Path(path), cache)
    assert (source.version, source.path) == ("3.5", path)
    assert b"\x003.5\0" in built(source, cache).read_bytes()


def test_a_tree_that_is_a_package_is_built_as_one(tree: Path, cache: Cache) -> None:
    """mod_wsgi 4 and newer have both; this setup.py fails."""
    (tree / "setup.py").write_text("raise SystemExit('it was used')\n")
    with pytest.raises(BuildFailed, match="no sdist can be made of"):
        found(tree, cache)


def test_a_tree_without_a_version(tree: Path, cache: Cache) -> None:
    (tree / "mod_wsgi.c").write_text("int nothing;\n")
    with pytest.raises(UsageError, match=r"mod_wsgi\.c does not say which version of mod_wsgi it"):
        found(tree, cache)


def test_it_is_not_pymongo(tree: Path, cache: Cache) -> None:
    with pytest.raises(UsageError, match="is the source of mod_wsgi, not of pymongo"):
        find_source("pymongo", str(tree), PYTHON, cache)


def test_a_python_that_is_too_new_for_it(tree: Path, cache: Cache) -> None:
    (tree / "mod_wsgi.c").write_text(f"#include <no/node.h>\n{CODE}")
    python = msgspec.structs.replace(PYTHON, version="3.11.2")
    with pytest.raises(BuildFailed) as caught:
        built(found(tree, cache), cache, python)
    message = str(caught.value)
    assert message.startswith("its sources do not compile for Python 3.11.2")
    assert "mod_wsgi 3.5 may be too old" in message
    assert "no/node.h: No such file" in message


def test_a_tree_that_can_not_be_configured(tree: Path, cache: Cache) -> None:
    (tree / "configure").write_text("echo 'configure: error: no Apache'; exit 1\n")
    with pytest.raises(BuildFailed, match="configure: error: no Apache"):
        built(found(tree, cache), cache)
