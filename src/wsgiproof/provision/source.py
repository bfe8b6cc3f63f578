"""Find one version of mod_wsgi or of a subject for one interpreter, wherever it comes from.

A version is looked up on the package index. A source tree is first made into an sdist, once for
each content. So no build writes to the tree, and builds for several interpreters do not share it.
"""

from __future__ import annotations

import email
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache as remembered
from pathlib import Path

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from wsgiproof.errors import UsageError, describe
from wsgiproof.files import open_regular, read_file
from wsgiproof.process.leftovers import temporary_directory
from wsgiproof.provision import modwsgi3
from wsgiproof.provision.archive import DAMAGED, TooLarge, extract, member_of_tar, member_of_zip
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.checkout import commit_of
from wsgiproof.provision.git import GitSource, exact_commit, fetch_source, is_git
from wsgiproof.provision.index import exact_version, make_sdist
from wsgiproof.provision.packages import find_version
from wsgiproof.provision.toolchain import Python, Source
from wsgiproof.records.cell import is_module

_SKIPPED = {
    ".git",
    ".hg",
    "__pycache__",
    ".venv",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".libs",
}
"""Directories that are not part of the sources."""
_SKIPPED_AT_THE_ROOT = {"build", "dist"}
"""The same, but only at the root of a tree: a package may have such a name."""
_BUILT = (".so", ".o", ".lo", ".slo", ".la", ".pyc")
"""Suffixes of files that a build leaves in a tree."""
_PKG_INFO = re.compile(r"[^/]+/PKG-INFO")
_BANNER = re.compile(rb"\0mod_wsgi/%s\0")
"""What mod_wsgi adds to the banner of Apache, with its version in place of ``%s``."""
_VERSION_TEXT = re.compile(rb"\0(\d+(?:\.\d+)+)(?=\0)")
_LARGEST = 2 << 30
"""Bytes of a module, a wheel or an archive."""
_OUTPUT = {"results.json", "cells"}
"""Entries by which an output directory is recognised, which may be in the tested tree."""


def find_source(package: str, requested: str, python: Python, cache: Cache) -> Source | str:
    """Return what ``requested``, a version or a path, is for ``python``.

    If it does not support that Python, returns the reason. Raises :class:`UsageError` if it does
    not exist, :class:`BuildFailed` if a tree can't be made into an sdist, and :class:`CannotRun` if
    the index does not answer.
    """
    if is_git(requested):
        return _from_git(package, fetch_source(requested, cache), python, cache)
    if not is_path(requested):
        return Source(version=find_version(package, requested, python, cache))
    path = Path(requested)
    if not path.exists():
        raise UsageError(f"there is no {package} at {path}")
    if is_module(path.name) and package == "mod-wsgi":
        return _module(path, python)
    if path.suffix == ".whl" and package != "mod-wsgi":
        return _wheel(package, path, python)
    return _sdist(package, path, python, cache)


def is_path(requested: str) -> bool:
    """Whether this is a path, and not something that is looked up."""
    return requested.startswith("/")


def exact_value(source: Source) -> str:
    """Return the value that means this source at any time, unless it is a file of this machine."""
    if is_git(source.path):
        return exact_commit(source.path, source.commit)
    return source.path or exact_version(source.version)


def _from_git(package: str, repository: GitSource, python: Python, cache: Cache) -> Source | str:
    source = _sdist(package, repository.archive, python, cache)
    if isinstance(source, str):
        return source
    return msgspec.structs.replace(source, path=repository.url, commit=repository.commit)


def _module(path: Path, python: Python) -> Source | str:
    """Read the version of a given mod_wsgi.so, and the libpython that it is linked against."""
    content = _content(path)
    linked = re.search(rb"libpython(\d\.\d+t?)m?\.so", content)
    if linked is None or not _BANNER.search(content):
        raise UsageError(f"{path} is not a mod_wsgi module that is linked against a libpython")
    if linked[1].decode() != python.short:
        return f"{path.name} is built for Python {linked[1].decode()}"
    return Source(
        version=_version_of_module(content, path, python.short.rstrip("t")),
        path=str(path),
        archive=str(path),
        digest=_digest(content),
    )


def _version_of_module(content: bytes, path: Path, linked: str) -> str:
    """Return the version that a compiled mod_wsgi holds, which is for the Python ``linked``.

    The module inserts its version into the banner of Apache when it starts. The version is a string
    of its own, beside that of the Python that it was compiled with. The check ``environment``
    compares it with what the running module says.
    """
    texts = {match[1].decode() for match in _VERSION_TEXT.finditer(content)}
    found = sorted(text for text in texts if not text.startswith(f"{linked}."))
    # Other strings look like a version of two numbers.
    best = [text for text in found if text.count(".") > 1] or found
    if len(best) != 1:
        raise UsageError(
            f"{path} does not say which version of mod_wsgi it is: it holds "
            f"{' and '.join(best) or 'no version'}"
        )
    return best[0]


def _wheel(package: str, path: Path, python: Python) -> Source | str:
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise UsageError(f"{path} is not named like a wheel") from error
    if name != package:
        raise UsageError(f"{path} is a wheel of {name}, not of {package}")
    major, minor = map(int, python.version.split(".")[:2])
    abis = [f"cp{major}{minor}{'t' * python.free_threaded}"]
    if not tags & {*cpython_tags((major, minor), abis), *_pure(tags, major)}:
        return f"{path.name} is not for Python {python.short}"
    try:
        metadata = member_of_zip(path, lambda name: name.endswith(".dist-info/METADATA"))
    except TooLarge as error:
        raise UsageError(f"{path} is not a wheel: {error}") from error
    except DAMAGED as error:
        raise UsageError(f"{path} is not a wheel") from error
    if metadata is None:
        raise UsageError(f"{path} is not a wheel")
    return _why_unsupported(metadata, path, python) or Source(
        version=str(version), path=str(path), archive=str(path), digest=_digest(_content(path))
    )


def _pure(tags: frozenset[object], major: int) -> Iterator[object]:
    yield from (tag for tag in tags if str(tag) in (f"py{major}-none-any", "py2.py3-none-any"))


def _sdist(package: str, path: Path, python: Python, cache: Cache) -> Source | str:
    if path.is_dir() and not _is_tree(path):  # before all of it is read
        raise UsageError(
            f"{path} is not a source tree: it has neither a pyproject.toml nor a setup.py"
        )
    digest = tree_digest(path, _files(path)) if path.is_dir() else _digest(_content(path))
    archive = path if path.is_file() and _metadata(path) else _archive_of(path, digest, cache)
    metadata = _metadata(archive)
    fields = email.message_from_bytes(metadata)
    name = re.sub(r"[-_.]+", "-", str(fields["Name"])).lower()
    if name != package:
        raise UsageError(f"{path} is the source of {fields['Name']}, not of {package}")
    return _why_unsupported(metadata, path, python) or Source(
        version=_version(fields["Version"], path),
        path=str(path),
        archive=str(archive),
        digest=digest,
        commit=commit_of(path) if path.is_dir() else "",
    )


def _version(text: str, path: Path) -> str:
    try:
        return str(Version(text))
    except (InvalidVersion, TypeError) as error:
        raise UsageError(
            f"{path} has the version '{text}', which is not valid (PEP 440)"
        ) from error


@remembered
def _archive_of(source: Path, digest: str, cache: Cache) -> Path:
    """Return the sdist of a source tree, or of an archive that is not an sdist itself."""

    def make(directory: Path) -> None:
        with temporary_directory() as scratch:
            tree = source if source.is_dir() else _unpacked(source, scratch)
            if _is_package(tree):
                make_sdist(tree, directory, directory / "build.log")
            else:
                modwsgi3.make_archive(tree, _files(tree), directory)

    entry = cache.entry("sdist", {"tree": source.name, "digest": digest}, make)
    return next(entry.glob("*.tar.gz"))


def _is_tree(directory: Path) -> bool:
    return _is_package(directory) or modwsgi3.is_tree(directory)


def _is_package(directory: Path) -> bool:
    return any((directory / name).is_file() for name in ("pyproject.toml", "setup.py"))


def _unpacked(archive: Path, directory: Path) -> Path:
    """Unpack an archive, such as a code host makes of a tag, and return the source tree in it."""
    extract(archive, directory / "src")
    for tree in (directory / "src", *(directory / "src").iterdir()):
        if _is_tree(tree):
            return tree
    raise UsageError(
        f"{archive} contains no source tree: it has neither a pyproject.toml nor a setup.py"
    )


@remembered
def _metadata(archive: Path) -> bytes:
    """Return the PKG-INFO of an sdist; empty for another kind of archive."""
    try:
        return member_of_tar(archive, lambda name: bool(_PKG_INFO.fullmatch(name))) or b""
    except DAMAGED as error:
        raise UsageError(f"{archive} can't be read as a source archive: {error}") from error


def _why_unsupported(metadata: bytes, path: Path, python: Python) -> str:
    """Return why the package's metadata excludes this Python; empty if it does not."""
    required = str(email.message_from_bytes(metadata)["Requires-Python"] or "")
    try:
        supported = SpecifierSet(required).contains(python.version, prereleases=True)
    except InvalidSpecifier:
        supported = True
    return "" if supported else f"{path.name} requires Python {required}"


def tree_digest(tree: Path, files: Iterable[Path]) -> str:
    """Return a digest of the paths and contents of these files of ``tree``."""
    digest = hashlib.sha256()
    try:
        for path in files:
            digest.update(os.fsencode(path.relative_to(tree)) + b"\0")
            with open_regular(path, follow=True) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())  # type: ignore[arg-type]
    except OSError as error:
        raise UsageError(describe(error)) from error
    return digest.hexdigest()[:16]


def _files(tree: Path) -> Iterator[Path]:
    """Yield the files of a tree, except those of version control, builds and wsgiproof's output."""
    for directory, names, files in os.walk(tree):
        if {*names, *files} >= _OUTPUT:
            names.clear()
            continue
        skipped = _SKIPPED | _SKIPPED_AT_THE_ROOT if directory == str(tree) else _SKIPPED
        names[:] = sorted(
            name for name in names if name not in skipped and not name.endswith(".egg-info")
        )
        for name in sorted(files):
            path = Path(directory) / name
            if path.suffix not in _BUILT and path.is_file():
                yield path


def _content(path: Path) -> bytes:
    try:
        return read_file(path, _LARGEST, follow=True)
    except OSError as error:
        raise UsageError(describe(error)) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
