"""The sources of CPython: a directory, an archive, or a verified download.

A download needs a SHA-256: the given one, or the one that python.org publishes next to each release
since 3.12.2 in an SPDX document, ``Python-3.13.15.tgz.spdx.json`` (python/release-tools,
``sbom.py``). If that document comes from a mirror, it protects against damage, but not against the
mirror.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from wsgiproof.errors import CannotRun, UsageError, describe
from wsgiproof.files import open_regular
from wsgiproof.provision.archive import extract
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.source import tree_digest

MIRROR = "https://www.python.org/ftp/python"
"""The base URL of releases, each in a directory named after its version."""

_TIMEOUT = 30.0
"""Seconds that a server may be silent."""
_DOCUMENT_DEADLINE = 120.0
_DOWNLOAD_DEADLINE = 3600.0
"""Seconds that a download may take in all."""
_CHUNK = 1 << 20
_LONGEST_DOCUMENT = 10_000_000
"""Bytes of an SPDX document; that of 3.13 has 2 MB."""
_LARGEST_ARCHIVE = 1 << 30
"""Bytes of a release; 3.13 has 30 MB."""
_SKIPPED = {".git", ".hg", "__pycache__"}
_BUILT = (".o", ".a", ".so", ".pyc")


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """An archive or a directory on this machine, and a digest of its content."""

    path: Path
    digest: str


def is_url(source: str) -> bool:
    """Whether ``source`` is a URL, and not a path."""
    return "://" in source


def find_sources(
    release: str,
    source: str,
    sha256: str,
    mirror: str,
    cache: Cache,
    on_progress: Callable[[str], None],
) -> Sources:
    """Return the verified sources of ``release`` (``3.13.15``).

    ``source`` is a path or a URL; without it the release is taken from ``mirror``. ``on_progress``
    is called with the size of a download so far. Raises :class:`UsageError` for what does not exist
    or has another checksum, and :class:`CannotRun` if a server does not answer.
    """
    if source and not is_url(source):
        return _local(Path(source), sha256)
    url = source or _address(mirror, release)
    expected = sha256 or _published(url)
    entry = cache.entry(
        "cpython-source",
        {"version": release, "sha256": expected},
        lambda directory: _download(url, directory / "archive", expected, on_progress),
    )
    return Sources(path=entry / "archive", digest=expected)


def unpack(sources: Sources, directory: Path) -> Path:
    """Copy or unpack the sources into the new ``directory``, and return the root of the tree.

    Raises :class:`UsageError` if they are not CPython's, or would write outside the directory.
    """
    if sources.path.is_dir():
        shutil.copytree(sources.path, directory, symlinks=True, ignore=_left_out)
    else:
        extract(sources.path, directory)
    for root in (directory, *directory.iterdir()):
        if _is_cpython(root):
            return root
    raise _not_cpython(sources.path)


def version_of(tree: Path) -> str:
    """Return the version that a source tree states."""
    text = (tree / "Include" / "patchlevel.h").read_text(errors="replace")
    found = re.search(r'#define\s+PY_VERSION\s+"([^"]+)"', text)
    # A checkout between two releases has a plus sign at the end.
    return found[1].rstrip("+") if found else "unknown"


def _local(path: Path, sha256: str) -> Sources:
    if path.is_dir():
        if sha256:
            raise UsageError(f"--sha256 is for an archive, and {path} is a directory")
        if not _is_cpython(path):
            raise _not_cpython(path)
        return Sources(path=path, digest=tree_digest(path, _files(path)))
    try:
        with open_regular(path, follow=True) as archive:
            digest = hashlib.file_digest(archive, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise UsageError(describe(error)) from error
    _compare(str(path), digest, sha256 or digest)
    return Sources(path=path, digest=digest)


def _is_cpython(tree: Path) -> bool:
    return (tree / "Include" / "patchlevel.h").is_file()


def _not_cpython(path: Path) -> UsageError:
    return UsageError(f"{path} is not the source of CPython: it has no Include/patchlevel.h")


def _files(tree: Path) -> Iterator[Path]:
    for path in sorted(tree.rglob("*")):
        parts = path.relative_to(tree).parts
        if not _SKIPPED & {*parts} and not path.name.endswith(_BUILT) and path.is_file():
            yield path


def _left_out(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if name in _SKIPPED or name.endswith(_BUILT)]


def _address(mirror: str, release: str) -> str:
    # A pre-release is in the directory of its final release.
    final = re.match(r"[\d.]+", release)
    assert final is not None
    return f"{mirror.rstrip('/')}/{final[0]}/Python-{release}.tgz"


def _published(url: str) -> str:
    """Return the SHA-256 that is published next to ``url``."""
    document = f"{url}.spdx.json"
    if document.startswith("http://") and not _is_secure(document):
        raise UsageError(
            f"{document} is not an https:// URL, so it could have been changed on the way: give "
            "the --sha256 of the archive"
        )
    content = bytearray()
    try:
        with _open(document, secure=True) as response:
            for part in _parts(response, _LONGEST_DOCUMENT, _DOCUMENT_DEADLINE):
                content += part
    except FileNotFoundError as error:
        raise UsageError(
            f"{document} does not exist: there is no such release, or it has no published "
            "checksum, as before 3.12.2: then give its --sha256"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _download_failed(document, error) from error
    try:
        packages = _decode_document(content).packages
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"{document} is not an SPDX document: give the --sha256") from error
    name = url.rpartition("/")[2]
    for package in packages:
        for checksum in package.checksums:
            if package.file == name and checksum.algorithm == "SHA256":
                return checksum.value.lower()
    raise UsageError(f"{document} has no SHA-256 of {name}: give it with --sha256")


class _Checksum(msgspec.Struct, rename={"value": "checksumValue"}):
    algorithm: str
    value: str


class _Package(msgspec.Struct, rename={"file": "packageFileName"}):
    file: str = ""
    checksums: list[_Checksum] = []


class _Document(msgspec.Struct):
    packages: list[_Package]


_decode_document = msgspec.json.Decoder(_Document).decode


def _download(url: str, target: Path, expected: str, on_progress: Callable[[str], None]) -> None:
    digest = hashlib.sha256()
    size = 0
    try:
        with _open(url) as response, target.open("wb") as file:
            for chunk in _parts(response, _LARGEST_ARCHIVE, _DOWNLOAD_DEADLINE):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                on_progress(f"{size / 1e6:.0f} MB")
    except FileNotFoundError as error:
        raise UsageError(f"{url} does not exist") from error
    except (OSError, http.client.HTTPException) as error:
        raise _download_failed(url, error) from error
    _compare(url, digest.hexdigest(), expected)


def _parts(response: http.client.HTTPResponse, largest: int, seconds: float) -> Iterator[bytes]:
    """Yield the body of a response as it arrives. Raises OSError for more than ``largest`` bytes,
    and if the response takes longer than ``seconds`` in all."""
    until, size = time.monotonic() + seconds, 0
    while part := response.read1(_CHUNK):
        size += len(part)
        if size > largest:
            raise OSError(f"it is larger than {largest:,} bytes")
        if time.monotonic() > until:
            raise TimeoutError(f"it was not complete after {seconds:g} s")
        yield part


def _is_secure(url: str) -> bool:
    """Whether nobody on the way can change the response: https, or this machine."""
    parts = urllib.parse.urlsplit(url)
    local = ("127.0.0.1", "::1", "localhost")
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in local)


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to a URL that is as secure as the original."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Raise URLError for a redirect from https:// to http://."""
        if not _is_secure(newurl) or (req.type == "https" and not newurl.startswith("https:")):
            raise urllib.error.URLError(f"it is redirected to {newurl}, which is not https://")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, *, secure: bool = False) -> http.client.HTTPResponse:
    """Open a URL. Raises FileNotFoundError if the server does not have it, else OSError.

    With ``secure``, redirects to less secure URLs are refused.
    """
    if not url.startswith(("https://", "http://")):
        raise UsageError(f"{url} is neither an https:// nor an http:// URL")
    opener = urllib.request.build_opener(*([_SecureRedirects] if secure else []))
    try:
        response = opener.open(url, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            raise FileNotFoundError(url) from error
        raise
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _download_failed(url: str, error: Exception) -> CannotRun:
    reason = getattr(error, "reason", None) or error
    return CannotRun(
        f"{url} can't be downloaded ({reason}): name an archive or a directory with --source, or "
        "another --mirror"
    )


def _compare(what: str, digest: str, expected: str) -> None:
    if digest != expected.lower():
        raise UsageError(f"{what} has the SHA-256 {digest}, not {expected.lower()}")
