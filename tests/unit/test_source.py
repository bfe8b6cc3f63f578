"""PyMongo and mod_wsgi from trees, archives, wheels and ready modules: real ones, only small."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import platform
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wsgiproof.errors import BuildFailed, UsageError, WsgiproofError
from wsgiproof.provision import source
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.source import find_source
from wsgiproof.provision.toolchain import Python, Source
from wsgiproof.records.cell import version_label
from wsgiproof.subjects.axis import absolute

PYTHON = Python(
    version="3.12.1", path=sys.executable, prefix="/", shared=True, headers=True, stdlib="/l",
    free_threaded=False, name="3.12",
)  # fmt: skip
FREE = msgspec.structs.replace(PYTHON, version="3.13.0", free_threaded=True, name="3.13t")
OLD = msgspec.structs.replace(PYTHON, version="3.6.15", name="3.6")

BACKEND = '''
"""Makes an sdist as others do, and leaves its traces in the tree as they do."""
import io, pathlib, tarfile

def build_sdist(target, settings=None):
    tree = pathlib.Path(__file__).parent
    with open(tree.parent / "builds", "a") as result:
        result.write("built\\n")
    (tree / "pymongo.egg-info").mkdir(exist_ok=True)
    (tree / "pymongo.egg-info" / "SOURCES.txt").write_text("all of them")
    metadata = (tree / "PKG-INFO.in").read_bytes()
    with tarfile.open(pathlib.Path(target) / "pymongo-4.21.0.tar.gz", "w:gz") as sdist:
        member = tarfile.TarInfo("pymongo-4.21.0/PKG-INFO")
        member.size = len(metadata)
        sdist.addfile(member, io.BytesIO(metadata))
    return "pymongo-4.21.0.tar.gz"
'''
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def metadata(name: str = "pymongo", version: str = "4.21.0", python: str = ">=3.9") -> bytes:
    return (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n"
    ).encode()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a build backend of its own, so that nothing has to be fetched."""
    directory = tmp_path / "work" / "driver"
    (directory / "pymongo").mkdir(parents=True)
    (directory / "pyproject.toml").write_text(PROJECT)
    (directory / "backend.py").write_text(BACKEND)
    (directory / "PKG-INFO.in").write_bytes(metadata())
    (directory / "pymongo" / "__init__.py").write_text("version = '4.21.0'\n")
    return directory


def builds(tree: Path) -> int:
    result = tree.parent / "builds"
    return len(result.read_text().splitlines()) if result.exists() else 0


def found(path: Path | str, cache: Cache, python: Python = PYTHON, **options: Any) -> Source:
    source = find_source(options.get("package", "pymongo"), str(path), python, cache)
    assert isinstance(source, Source), source
    return source


def refused(path: Path, cache: Cache, kind: type[WsgiproofError], **options: Any) -> str:
    with pytest.raises(kind) as caught:
        found(path, cache, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    return message.replace(str(path), "PATH")


# Trees


def test_a_tree_is_made_into_an_sdist_once(tree: Path, cache: Cache) -> None:
    source = found(tree, cache)
    assert (source.version, source.path) == ("4.21.0", str(tree))
    assert tarfile.is_tarfile(source.archive)
    assert Path(source.archive).is_relative_to(cache.root)
    assert found(tree, cache) == source
    assert found(tree, Cache(cache.root), FREE) == source, "nor for another Python"
    assert builds(tree) == 1
    assert not [*tree.rglob("__pycache__")], "importing the build backend leaves nothing"


def test_the_commit_of_a_checkout_is_known(tree: Path, cache: Cache) -> None:
    assert found(tree, cache).commit == ""
    (tree / ".git").mkdir()
    (tree / ".git" / "HEAD").write_text("0123456789" * 4 + "\n")
    assert found(tree, cache).commit == "0123456789" * 4


LEFT_OVER = [
    *("build/lib/x.o", "dist/pymongo.whl", "pymongo/_cbson.so", "pymongo/__pycache__/x.pyc"),
    *(".git/index", ".venv/bin/python", ".mypy_cache/x", "src/pymongo.egg-info/PKG-INFO"),
    *("pymongo/_cbson.o", "pymongo/x.lo", "pymongo/.libs/x", ".ruff_cache/x"),
]


def test_what_builds_and_runs_leave_behind_changes_nothing(tree: Path, cache: Cache) -> None:
    """A run in a checkout can be resumed."""
    before = found(tree, cache)
    for name in LEFT_OVER:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("left over")
        assert found(tree, cache) == before, name
    for place in ("wsgiproof-results/20261123-120000", "shard-1"):
        (tree / place / "cells" / "x").mkdir(parents=True)
        (tree / place / "results.json").write_text("{}")
        (tree / place / "cells" / "x" / "cell.json").write_text("{}")
        assert found(tree, cache) == before, place
    assert builds(tree) == 1


def test_content_makes_another_sdist(tree: Path, cache: Cache) -> None:
    sources = [found(tree, cache)]
    packages = ("pymongo/build/x.py", "pymongo/dist/x.py")
    for name in ("pymongo/__init__.py", *packages, "results.json", "é\udcff"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("changed")
        sources.append(found(tree, cache))
        assert builds(tree) == len(sources)
    (tree / name).rename(tree / "renamed.py")
    sources.append(found(tree, cache))
    assert len({one.digest for one in sources}) == len(sources)
    assert len({one.archive for one in sources}) == len(sources)


def test_a_tree_of_another_package(tree: Path, cache: Cache) -> None:
    (tree / "PKG-INFO.in").write_bytes(metadata(name="Mod_WSGI"))
    assert refused(tree, cache, UsageError) == "PATH is the source of Mod_WSGI, not of pymongo"
    assert found(tree, cache, package="mod-wsgi").version == "4.21.0"


def test_a_python_that_the_tree_does_not_support(tree: Path, cache: Cache) -> None:
    result = find_source("pymongo", str(tree), OLD, cache)
    assert result == "driver requires Python >=3.9"


@pytest.mark.parametrize(("version", "result"), [("spam", "'spam'"), ("", "''"), ("4.x", "'4.x'")])
def test_a_tree_without_a_version(version: str, result: str, tree: Path, cache: Cache) -> None:
    (tree / "PKG-INFO.in").write_bytes(metadata(version=version))
    assert (
        refused(tree, cache, UsageError)
        == f"PATH has the version {result}, which is not valid (PEP 440)"
    )


def test_a_directory_that_is_no_tree_is_refused_before_it_is_read(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "tree_digest", None)
    result = refused(tmp_path, cache, UsageError)
    assert result == "PATH is not a source tree: it has neither a pyproject.toml nor a setup.py"


def test_a_tree_that_can_not_be_built(tree: Path, cache: Cache) -> None:
    (tree / "backend.py").write_text("raise OSError('no space, it says')\n")
    assert refused(tree, cache, BuildFailed).startswith("no sdist can be made of PATH: ")
    assert not list(cache.root.glob("sdist/*/"))


def test_a_path_that_is_not_there(tmp_path: Path, cache: Cache) -> None:
    assert refused(tmp_path / "x", cache, UsageError) == "there is no pymongo at PATH"


# Archives


def packed(path: Path, member: str, content: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in ("pymongo-4.21.0/README", member):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_an_sdist_is_taken_as_it_is(tmp_path: Path, cache: Cache) -> None:
    path = packed(tmp_path / "any.tar.gz", "pymongo-4.21.0/PKG-INFO", metadata())
    source = found(path, cache)
    assert (source.version, source.path, source.archive) == ("4.21.0", str(path), str(path))
    packed(path, "pymongo-4.21.0/PKG-INFO", metadata(python=">=3.8"))
    assert found(path, cache).digest != source.digest
    assert not cache.root.exists(), "nothing was built"


def test_an_archive_of_a_tree_is_made_into_an_sdist(
    tree: Path, tmp_path: Path, cache: Cache
) -> None:
    path = tmp_path / "v4.21.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tree, "driver-4.21.0")
    source = found(path, cache)
    assert (source.version, source.path) == ("4.21.0", str(path))
    assert Path(source.archive).is_relative_to(cache.root)
    assert found(path, cache) == source


def test_an_archive_of_something_else(tmp_path: Path, cache: Cache) -> None:
    path = packed(tmp_path / "a.tar.gz", "pymongo-4.21.0/src/PKG-INFO", metadata())
    result = refused(path, cache, UsageError)
    assert result == "PATH contains no source tree: it has neither a pyproject.toml nor a setup.py"


@pytest.mark.parametrize("cut", [0, 3, 30, 90, -8])
def test_an_archive_that_is_broken(cut: int, tmp_path: Path, cache: Cache) -> None:
    path = packed(tmp_path / "a.tar.gz", "pymongo-4.21.0/PKG-INFO", metadata())
    path.write_bytes(path.read_bytes()[:cut])
    if cut < 0:  # only the checksum is missing, which comes after all that is read
        assert found(path, cache).version == "4.21.0"
    else:
        assert refused(path, cache, UsageError).startswith(
            "PATH can't be read as a source archive: "
        )


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
MIB = 1 << 20


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """That of a member which claims to have this size."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def bomb(path: Path, compression: str, begins: bytes, zeros: int) -> Path:
    """A file with so many MiB of zeros at its end: a compressed file may have several parts."""
    compress = COMPRESSORS[compression]
    one = compress(bytes(MIB))
    with path.open("wb") as file:
        file.write(compress(begins))
        for _ in range(zeros):
            file.write(one)
    return path


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_metadata_that_is_a_bomb_is_not_decompressed(
    compression: str, tmp_path: Path, cache: Cache
) -> None:
    begins = header("pymongo-4.21.0/PKG-INFO", 1 << 40)
    path = bomb(tmp_path / f"a.tar.{compression}", compression, begins, 6)
    result = refused(path, cache, UsageError)
    assert result.startswith("PATH can't be read as a source archive: it is too large for an")
    assert result.endswith("more than 4 MiB of metadata")


def test_a_bomb_before_the_metadata_is_given_up(tmp_path: Path, cache: Cache) -> None:
    begins = header("pymongo-4.21.0/a", 1 << 40)
    path = bomb(tmp_path / "a.tar.gz", "gz", begins, 513)
    assert path.stat().st_size < MIB
    assert refused(path, cache, UsageError).endswith("more than 512 MiB")


def test_headers_that_follow_one_another_without_an_end(tmp_path: Path, cache: Cache) -> None:
    """Each is read by a call inside the one before."""
    begins = (header("x", 512, tarfile.XHDTYPE) + b"12 path=abc\n".ljust(512, b"\0")) * 5000
    path = bomb(tmp_path / "a.tar.gz", "gz", begins, 1)
    result = refused(path, cache, UsageError)
    assert result.startswith("PATH can't be read as a source archive: ")


def test_a_sparse_file_counts_with_its_holes(tmp_path: Path, cache: Cache) -> None:
    member = bytearray(header("driver/pyproject.toml", 0, tarfile.GNUTYPE_SPARSE))
    member[386:482] = bytes(96)
    member[483:495] = b"777777777777"  # its size once it is unpacked: 64 GiB
    member[148:156] = b" " * 8
    member[148:156] = b"%06o\0 " % sum(member)
    path = bomb(tmp_path / "a.tar.gz", "gz", bytes(member) + bytes(1024), 0)
    result = refused(path, cache, UsageError)
    assert (
        result
        == "PATH can't be unpacked: it is too large for an archive of sources: more than 4,096 MiB"
    )


# Wheels


def wheel(directory: Path, tags: str, content: bytes | None = None) -> Path:
    path = directory / f"pymongo-4.21.0-{tags}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if content is not None:
            archive.writestr("pymongo-4.21.0.dist-info/METADATA", content)
    return path


@pytest.mark.parametrize(
    ("tags", "pythons"),
    [
        ("cp312-cp312-HERE", [PYTHON]),
        ("cp312-cp312-ELSEWHERE", []),
        ("cp39-abi3-HERE", [PYTHON]),
        ("cp313-cp313t-HERE", [FREE]),
        ("cp313-cp313-HERE", []),
        ("py3-none-any", [PYTHON, FREE]),
        ("py2-none-any", []),
        ("cp312-cp312-win_amd64", []),
    ],
)
def test_a_wheel_is_for_the_pythons_that_its_tags_name(
    tags: str, pythons: list[Python], tmp_path: Path, cache: Cache
) -> None:
    tags = tags.replace("ELSEWHERE", "linux_vax").replace("HERE", f"linux_{platform.machine()}")
    path = wheel(tmp_path, tags, metadata())
    for python in (PYTHON, FREE):
        answer = find_source("pymongo", str(path), python, cache)
        if python in pythons:
            assert isinstance(answer, Source)
            assert (answer.version, answer.archive) == ("4.21.0", str(path))
        else:
            assert answer == f"{path.name} is not for Python {python.short}"


def test_a_wheel_says_which_pythons_it_requires(tmp_path: Path, cache: Cache) -> None:
    path = wheel(tmp_path, "py3-none-any", metadata(python=">=3.13"))
    assert find_source("pymongo", str(path), PYTHON, cache) == f"{path.name} requires Python >=3.13"
    assert found(path, cache, FREE).version == "4.21.0"
    path = wheel(tmp_path, "py3-none-any", metadata(python="not a specifier"))
    assert found(path, cache).version == "4.21.0"


def test_what_is_no_wheel(tmp_path: Path, cache: Cache) -> None:
    misnamed = tmp_path / "pymongo.whl"
    misnamed.write_text("x")
    assert refused(misnamed, cache, UsageError) == "PATH is not named like a wheel"
    empty = wheel(tmp_path, "py3-none-any")
    assert refused(empty, cache, UsageError) == "PATH is not a wheel"
    whole = wheel(tmp_path, "py3-none-any", metadata() * 100)
    content = bytearray(whole.read_bytes())
    content[80:90] = b"\xff" * 10
    whole.write_bytes(content)
    assert refused(whole, cache, UsageError) == "PATH is not a wheel"
    whole.write_text("no zip at all")
    assert refused(whole, cache, UsageError) == "PATH is not a wheel"


def test_a_wheel_whose_metadata_is_a_bomb(tmp_path: Path, cache: Cache) -> None:
    path = wheel(tmp_path, "py3-none-any", bytes(6 * MIB))
    result = refused(path, cache, UsageError)
    assert result.startswith("PATH is not a wheel: it is too large for an archive of sources: ")
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (100).to_bytes(4, "little")  # the size it claims
    path.write_bytes(content)
    assert refused(path, cache, UsageError).startswith("PATH is not a wheel")


def test_a_wheel_with_more_members_than_any(tmp_path: Path, cache: Cache) -> None:
    path = wheel(tmp_path, "py3-none-any")
    with zipfile.ZipFile(path, "w") as archive:
        archive.filelist += [zipfile.ZipInfo(f"{number}") for number in range(200_001)]
        for one in archive.filelist:
            one.header_offset = one.CRC = 0
        archive._didModify = True  # type: ignore[attr-defined]
    assert refused(path, cache, UsageError).endswith("more than 200,000 files")


def test_a_wheel_of_another_package(tmp_path: Path, cache: Cache) -> None:
    path = wheel(tmp_path, "py3-none-any", metadata()).rename(
        tmp_path / "motor-4.21.0-py3-none-any.whl"
    )
    assert refused(path, cache, UsageError) == "PATH is a wheel of motor, not of pymongo"


def test_mod_wsgi_is_no_wheel_and_pymongo_no_module(tmp_path: Path, cache: Cache) -> None:
    """What depends on Apache and libpython is built for them."""
    path = wheel(tmp_path, "py3-none-any", metadata())
    result = refused(path, cache, UsageError, package="mod-wsgi")
    assert result.startswith("PATH can't be read as a source archive: ")
    result = refused(module(tmp_path), cache, UsageError)
    assert result.startswith("PATH can't be read as a source archive: ")


# Ready modules


BANNER = b"mod_wsgi/%s\0Python/%d.%d\0"
"""The strings of a module as each real one has them: mod_wsgi inserts its version at run time."""


def module(
    directory: Path,
    says: bytes = b"3.12.9\0005.0.2\0" + BANNER + b"libpython3.12.so.1.0",
    name: str = "mod_wsgi.so",
) -> Path:
    path = directory / name
    path.write_bytes(b"\x7fELF\0\xff\0" + says + b"\0")
    return path


def test_a_ready_module_says_its_version(tmp_path: Path, cache: Cache) -> None:
    source = found(module(tmp_path), cache, package="mod-wsgi")
    assert (source.version, source.archive) == ("5.0.2", str(tmp_path / "mod_wsgi.so"))
    changed = module(tmp_path, b"5.0.2\0" + BANNER + b"libpython3.12.so.1.0\0more")
    assert found(changed, cache, package="mod-wsgi").digest != source.digest


@pytest.mark.parametrize(
    ("texts", "version"),
    [
        (b"4.9.4\x003.12.1", "4.9.4"),  # of an sdist; the Python is that of the compilation
        (b"3.12.1\0dummy_threading\0wsgi_init\x004.9.4", "4.9.4"),  # Debian's
        (b"6.1.1\x003.12.2\x009.5", "6.1.1"),
        (b"3.12.1\x003.4", "3.4"),  # before 4 there were two numbers
        (b"6.1.1\x006.1.1", "6.1.1"),
        (b"14.9.4x\x005.0.2\0x4.9.4", "5.0.2"),
    ],
)
def test_the_version_of_a_module_is_a_string_of_its_own(
    texts: bytes, version: str, tmp_path: Path, cache: Cache
) -> None:
    path = module(tmp_path, texts + b"\0" + BANNER + b"libpython3.12.so.1.0")
    assert found(path, cache, package="mod-wsgi").version == version


@pytest.mark.parametrize(
    ("texts", "held"), [(b"3.12.1", "no version"), (b"4.9.4\x005.0.2", "4.9.4 and 5.0.2")]
)
def test_a_module_that_does_not_say_one_version(
    texts: bytes, held: str, tmp_path: Path, cache: Cache
) -> None:
    path = module(tmp_path, texts + b"\0" + BANNER + b"libpython3.12.so.1.0")
    result = refused(path, cache, UsageError, package="mod-wsgi")
    assert result == f"PATH does not say which version of mod_wsgi it is: it holds {held}"


def test_a_module_may_be_named_as_debian_names_it(tmp_path: Path, cache: Cache) -> None:
    path = module(tmp_path, name="mod_wsgi.so-3.12")
    assert found(path, cache, package="mod-wsgi").version == "5.0.2"
    (tmp_path / "mod_wsgi.so").symlink_to(path)
    assert found(tmp_path / "mod_wsgi.so", cache, package="mod-wsgi").version == "5.0.2"
    assert version_label("mw", "5.0.2", str(path)) == "mw5.0.2+so"
    assert absolute(path.name, tmp_path) == str(path)


@pytest.mark.parametrize(
    ("linked", "python", "result"),
    [
        (b"libpython3.11.so.1.0", PYTHON, "mod_wsgi.so is built for Python 3.11"),
        (b"libpython3.13.so.1.0", FREE, "mod_wsgi.so is built for Python 3.13"),
        (b"libpython3.13t.so.1.0", PYTHON, "mod_wsgi.so is built for Python 3.13t"),
        (b"libpython3.13t.so.1.0", FREE, ""),
        (b"libpython3.6m.so.1.0", OLD, ""),
    ],
)
def test_a_module_is_for_the_python_that_it_is_linked_against(
    linked: bytes, python: Python, result: str, tmp_path: Path, cache: Cache
) -> None:
    path = module(tmp_path, b"5.0.2\0" + BANNER + linked)
    answer = find_source("mod-wsgi", str(path), python, cache)
    assert answer == result if result else isinstance(answer, Source)


@pytest.mark.parametrize("says", [b"", b"5.0.2\0" + BANNER, b"5.0.2\0libpython3.12.so.1.0"])
def test_what_is_no_module(says: bytes, tmp_path: Path, cache: Cache) -> None:
    result = refused(module(tmp_path, says), cache, UsageError, package="mod-wsgi")
    assert result == "PATH is not a mod_wsgi module that is linked against a libpython"


def test_what_can_not_be_read(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "mod_wsgi.so").mkdir()
    result = refused(tmp_path / "mod_wsgi.so", cache, UsageError, package="mod-wsgi")
    assert result == "it is not a regular file: PATH"
    os.mkfifo(tmp_path / "fifo.so")
    result = refused(tmp_path / "fifo.so", cache, UsageError, package="mod-wsgi")
    assert result == "it is not a regular file: PATH"
    os.mkfifo(tmp_path / "sdist.tar.gz")
    result = refused(tmp_path / "sdist.tar.gz", cache, UsageError)
    assert result == "it is not a regular file: PATH"
