"""A Python compiled from source: what is verified before, what is left after, and what goes wrong.

The sources are a few lines that know the steps of CPython's own build; ``make cpython`` has the
real ones.
"""

from __future__ import annotations

import hashlib
import io
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import psutil
import pytest
import trustme
from click.testing import CliRunner

from tests.unit.test_python import ANYBODY, good
from wsgiproof.cli import cli
from wsgiproof.errors import BuildFailed, CannotRun, PrerequisiteMissing, UsageError
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.cpython import build_cpython, install_prebuilt, missing_modules, release_of
from wsgiproof.provision.cpython_source import _parts
from wsgiproof.provision.python import choose
from wsgiproof.provision.toolchain import Python

CONFIGURE = """#!/bin/sh
echo "configured with $* LDFLAGS=$LDFLAGS"
for option; do case $option in --prefix=*) prefix=${option#--prefix=};; esac; done
sed "s|@PREFIX@|$prefix|g" Makefile.in > Makefile
"""
MAKEFILE = """
all:
\t@gcc() { echo "gcc -c $$*"; }; gcc one.c; gcc two.c
install:
\tmkdir -p @PREFIX@/bin
\tsed 's|@HERE@|@PREFIX@|g' python.in > @PREFIX@/bin/@NAME@
\tchmod 755 @PREFIX@/bin/@NAME@
"""
LIBRARIES = ("zlib.h", "ffi.h", "openssl/ssl.h", "bzlib.h", "lzma.h", "sqlite3.h")


class Told:
    """Remembers the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.counts: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def count(self, text: str) -> None:
        self.counts.append(text)


def interpreter(version: str, *, shared: bool = True) -> Python:
    free = version.endswith("t")
    return msgspec.structs.replace(
        good(Path("/usr/lib")),
        version=version.removesuffix("t"),
        path=f"@HERE@/bin/python3.98{'t' * free}",
        shared=shared,
        free_threaded=free,
    )


def tree(directory: Path, python: Python, *, missing: str = "") -> Path:
    """A source tree that becomes ``python``, without the modules ``missing``."""
    (directory / "Include").mkdir(parents=True)
    text = f'#define PY_MAJOR_VERSION 3\n#define PY_VERSION "{python.version}"\n'
    (directory / "Include" / "patchlevel.h").write_text(text)
    (directory / "configure").write_text(CONFIGURE)
    (directory / "configure").chmod(0o755)
    name = python.path.rpartition("/")[2]
    (directory / "Makefile.in").write_text(MAKEFILE.replace("@NAME@", name))
    answer = msgspec.json.encode(python).decode()
    (directory / "python.in").write_text(
        f"#!/bin/sh\nif [ $1 = -S ]; then echo '{answer}'; else echo {missing}; fi\n"
    )
    return directory


def packed(tree: Path, archive: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(archive, mode) as opened:  # type: ignore[call-overload]
        opened.add(tree, "Python-3.98.7")
    return archive


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """An empty one, on a machine that has the headers of every library, and no others."""
    for header in LIBRARIES:
        path = tmp_path / "include" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("CPPFLAGS", f"-nostdinc -I{tmp_path}/include")
    monkeypatch.setenv("WSGIPROOF_CACHE", str(tmp_path / "cache"))
    return Cache()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tree(tmp_path / "source", interpreter("3.98.7"))


def left(cache: Cache, kind: str = "cpython") -> list[str]:
    """What there is of a kind, but the locks."""
    return [path.name for path in (cache.root / kind).glob("*") if path.suffix != ".lock"]


@pytest.mark.parametrize("wanted", ["3.98.7", "3.98.7t"])
def test_a_tree_becomes_a_python_that_is_found_by_its_version(
    tmp_path: Path, cache: Cache, wanted: str
) -> None:
    source = tree(tmp_path / "source", interpreter(wanted))
    printed = Told()
    python = build_cpython(wanted, cache, printed, source=str(source), jobs=3)
    (entry,) = cache.built("cpython")
    assert python.path.startswith(f"{entry}/bin/python3.98")
    assert python.free_threaded is wanted.endswith("t")
    assert printed.steps[1:] == ["unpack", "configure", "make -j3", "make install"]
    assert printed.counts[-1] == "2 files compiled"
    log = (entry / "build.log").read_text()
    assert f"--prefix={entry} --enable-shared" in log
    assert ("--disable-gil" in log) is wanted.endswith("t")
    assert f"LDFLAGS=-Wl,-rpath,{entry}/lib" in log
    assert not (entry / "src").exists()
    assert left(cache) == [entry.name]
    assert choose(wanted, ANYBODY) == msgspec.structs.replace(python, origin="wsgiproof")


def test_what_is_built_is_not_built_again_until_something_is_different(
    tmp_path: Path, cache: Cache, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_cpython("3.98.7", cache, Told(), source=str(source))
    again = Told()
    assert build_cpython("3.98.7", cache, again, source=str(source)) == first
    assert again.steps == ["looking at the sources"]
    (source / "new.c").write_text("new")
    assert build_cpython("3.98.7", cache, Told(), source=str(source)).path != first.path
    monkeypatch.setenv("CFLAGS", "-O1")
    build_cpython("3.98.7", cache, Told(), source=str(source))
    (tmp_path / "include" / "openssl" / "ssl.h").unlink()
    build_cpython("3.98.7", cache, Told(), source=str(source))
    assert len(cache.built("cpython")) == 4


def test_a_tree_is_left_as_it_is_and_what_was_built_in_it_is_not_taken(
    cache: Cache, source: Path
) -> None:
    (source / "one.o").write_text("built for another")
    (source / ".git").mkdir()
    before = sorted(source.rglob("*"))
    first = build_cpython("3.98.7", cache, Told(), source=str(source))
    assert sorted(source.rglob("*")) == before
    (source / "one.o").unlink()
    assert build_cpython("3.98.7", cache, Told(), source=str(source)) == first


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_an_archive_of_any_kind(cache: Cache, source: Path, tmp_path: Path, mode: str) -> None:
    archive = packed(source, tmp_path / "Python-3.98.7.tar", mode)
    digest = sha256(archive).upper()
    python = build_cpython("3.98.7", cache, Told(), source=str(archive), sha256=digest)
    assert python.version == "3.98.7"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("3.13", "not a full version"),
        ("spam", "not a full version"),
        ("3.12.1t", "first without a GIL is 3.13.0t"),
    ],
)
def test_what_is_no_release(wanted: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        release_of(wanted)


def test_a_release_and_one_before_it() -> None:
    assert str(release_of("3.13.15t")) == "3.13.15t"
    assert release_of("3.13.15t").program == "python3.13t"
    assert release_of("3.15.0a1").version == "3.15.0a1"


# What is wrong with the sources


def refused(cache: Cache, source: Path, **options: str) -> str:
    with pytest.raises(UsageError) as caught:
        build_cpython("3.98.7", cache, Told(), source=str(source), **options)  # type: ignore[arg-type]
    assert left(cache) == []
    return str(caught.value)


def test_another_version_inside(cache: Cache, tmp_path: Path) -> None:
    other = tree(tmp_path / "other", interpreter("3.98.6"))
    assert refused(cache, other) == f"{other} is the source of Python 3.98.6, not of 3.98.7"


def test_another_checksum_is_reported_with_both(cache: Cache, source: Path, tmp_path: Path) -> None:
    archive = packed(source, tmp_path / "archive")
    wrong = "0" * 64
    assert refused(cache, archive, sha256=wrong) == (
        f"{archive} has the SHA-256 {sha256(archive)}, not {wrong}"
    )


@pytest.mark.parametrize("name", ["../../evil", "/tmp/wsgiproof-evil", "Python/../../../evil"])
def test_an_archive_that_leaves_its_directory(cache: Cache, tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "archive", "w:gz") as opened:
        member = tarfile.TarInfo(name)
        member.size = 4
        opened.addfile(member, io.BytesIO(b"evil"))
    refused(cache, tmp_path / "archive")
    assert not Path("/tmp/wsgiproof-evil").exists()
    assert not list(cache.root.rglob("evil"))


def test_a_link_that_leads_out_of_an_archive(cache: Cache, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w:gz") as opened:
        member = tarfile.TarInfo("Python/lib")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        opened.addfile(member)
    assert "not safe" in refused(cache, tmp_path / "archive")


@pytest.mark.parametrize("content", [b"", b"spam", b"\x1f\x8b\x08\x00 cut off"])
def test_what_is_no_archive(cache: Cache, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "archive").write_bytes(content)
    assert "can't be unpacked" in refused(cache, tmp_path / "archive")


def test_what_is_no_source_of_cpython_or_not_there(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is not the source of CPython" in refused(cache, tmp_path / "empty")
    assert "No such file" in refused(cache, tmp_path / "gone")
    assert "is a directory" in refused(cache, tmp_path / "empty", sha256="0" * 64)


# A server


class Server:
    """A mirror on loopback: what it has, by path, or the status that it answers, or where that
    redirects to."""

    def __init__(self, secured: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes | int | str] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path, 404)
                if isinstance(content, str):
                    self.send_response(302)
                    self.send_header("Location", content)
                else:
                    self.send_response(content if isinstance(content, int) else 200)
                self.end_headers()
                if isinstance(content, bytes):
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the tests look at ``asked``."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http{'s' if secured else ''}://127.0.0.1:{self.server.server_port}"
        if secured:
            self.server.socket = secured.wrap_socket(self.server.socket, server_side=True)

    def has_release(self, version: str, archive: Path, digest: str = "") -> None:
        """As python.org has it, with a document that says what its digest is."""
        name = f"Python-{version}.tgz"
        checksums = [
            {"algorithm": "SHA1", "checksumValue": "1" * 40},
            {"algorithm": "SHA256", "checksumValue": digest or sha256(archive)},
        ]
        packages = [
            {"name": "expat", "checksums": [{"algorithm": "SHA256", "checksumValue": "2" * 64}]},
            {"name": "CPython", "packageFileName": name, "checksums": checksums},
        ]
        self.files[f"/{version}/{name}"] = archive.read_bytes()
        self.files[f"/{version}/{name}.spdx.json"] = msgspec.json.encode({"packages": packages})


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        thread.join()
        server.server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Server()) as server:
        yield server


@pytest.fixture
def secured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """The same with TLS, and a certificate that is trusted."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(Server(context)) as server:
        yield server


@pytest.fixture
def archive(source: Path, tmp_path: Path) -> Path:
    return packed(source, tmp_path / "archive")


def test_a_release_is_verified_by_the_document_beside_it_and_loaded_once(
    cache: Cache, server: Server, archive: Path
) -> None:
    server.has_release("3.98.7", archive)
    printed = Told()
    python = build_cpython("3.98.7", cache, printed, mirror=server.url)
    assert python.version == "3.98.7"
    assert printed.counts[0] == "0 MB"
    assert build_cpython("3.98.7", cache, Told(), mirror=server.url + "/") == python
    document = "/3.98.7/Python-3.98.7.tgz.spdx.json"
    assert server.asked == [document, "/3.98.7/Python-3.98.7.tgz", document]


def test_a_checksum_that_was_given_needs_no_document(
    cache: Cache, server: Server, archive: Path
) -> None:
    server.files["/any"] = archive.read_bytes()
    url = f"{server.url}/any"
    python = build_cpython("3.98.7", cache, Told(), source=url, sha256=sha256(archive))
    assert python.version == "3.98.7"
    assert server.asked == ["/any"]


def test_a_download_that_is_not_what_was_published_is_not_kept(
    cache: Cache, server: Server, archive: Path
) -> None:
    server.has_release("3.98.7", archive, "3" * 64)
    with pytest.raises(UsageError) as caught:
        build_cpython("3.98.7", cache, Told(), mirror=server.url)
    assert f"has the SHA-256 {sha256(archive)}, not {'3' * 64}" in str(caught.value)
    assert left(cache, "cpython-source") == []


def test_nothing_is_loaded_that_can_not_be_verified(
    cache: Cache, server: Server, archive: Path
) -> None:
    server.files["/3.98.7/Python-3.98.7.tgz"] = archive.read_bytes()
    document = "/3.98.7/Python-3.98.7.tgz.spdx.json"
    for content, words in (
        (404, "no such release, or it has no published checksum"),
        (b"<html>", "is not an SPDX document"),
        (b'{"packages": []}', "has no SHA-256 of Python-3.98.7.tgz"),
    ):
        server.files[document] = content
        with pytest.raises(UsageError, match=words) as caught:
            build_cpython("3.98.7", cache, Told(), mirror=server.url)
        assert "--sha256" in str(caught.value)
    assert server.asked == [document] * 3


DOCUMENT = "/3.98.7/Python-3.98.7.tgz.spdx.json"


def test_a_checksum_is_not_taken_over_a_redirect_that_others_can_change(
    cache: Cache, server: Server, secured: Server, archive: Path
) -> None:
    server.has_release("3.98.7", archive)
    secured.has_release("3.98.7", archive)
    secured.files["/moved"] = secured.files[DOCUMENT]
    secured.files[DOCUMENT] = "/moved"
    assert build_cpython("3.98.7", cache, Told(), mirror=secured.url).version == "3.98.7"
    secured.files[DOCUMENT] = server.url + DOCUMENT
    with pytest.raises(CannotRun, match=r"is redirected to http:.*which is not https://"):
        build_cpython("3.98.7", cache, Told(), mirror=secured.url)
    assert server.asked == []


def test_a_checksum_is_not_taken_from_where_others_can_change_it(
    cache: Cache, server: Server
) -> None:
    mirror = "http://mirror.invalid/python"
    with pytest.raises(UsageError, match=r"is not an https:// URL.*give the --sha256"):
        build_cpython("3.98.7", cache, Told(), mirror=mirror)
    server.files[DOCUMENT] = mirror
    with pytest.raises(CannotRun, match=f"is redirected to {mirror}, which is not https://"):
        build_cpython("3.98.7", cache, Told(), mirror=server.url)


def test_a_document_that_is_a_bomb(cache: Cache, server: Server) -> None:
    for content, error, words in (
        (b"[" * 1_000_000, UsageError, "is not an SPDX document"),
        (b'{"packages": ' + b"[" * 100_000, UsageError, "is not an SPDX document"),
        (b"\xff\0", UsageError, "is not an SPDX document"),
        (b" " * 10_000_001, CannotRun, "larger than 10,000,000 bytes"),
    ):
        server.files[DOCUMENT] = content
        with pytest.raises(error, match=words):
            build_cpython("3.98.7", cache, Told(), mirror=server.url)


def test_a_server_that_sends_a_little_at_a_time_has_a_deadline(server: Server) -> None:
    server.files["/a"] = bytes(100)
    with (
        urllib.request.urlopen(f"{server.url}/a", timeout=10) as answer,
        pytest.raises(TimeoutError, match="was not complete after -1 s"),
    ):
        list(_parts(answer, 1000, -1))


def test_a_server_that_refuses_or_fails(cache: Cache, server: Server, archive: Path) -> None:
    server.has_release("3.98.7", archive)
    server.files["/3.98.7/Python-3.98.7.tgz"] = 503
    with pytest.raises(CannotRun, match=r"can't be downloaded .*Service Unavailable.*--source"):
        build_cpython("3.98.7", cache, Told(), mirror=server.url)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listened on: refuses, and stays ours
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(CannotRun, match=r"can't be downloaded .*refused.*--source"):
            build_cpython("3.98.7", cache, Told(), mirror=url)
    with pytest.raises(UsageError, match="neither an https"):
        build_cpython("3.98.7", cache, Told(), mirror="ftp://127.0.0.1")


def test_uv_that_gets_nothing_is_reported_in_one_line(
    cache: Cache, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(BuildFailed, match=r"uv could not install Python 3\.13\.0t: ") as caught:
        install_prebuilt("3.13.0t", cache, Told(), mirror=server.url)
    assert "\n" not in str(caught.value)
    assert any("freethreaded" in path for path in server.asked)
    assert left(cache) == []


# What is wrong with the build


@pytest.mark.parametrize(
    ("file", "content", "step", "words"),
    [
        ("configure", "#!/bin/sh\necho 'configure: error: no acceptable C'\nexit 77\n",
         "'configure' ended with 77", "configure: error: no acceptable C"),
        ("Makefile.in", "all:\n\t@echo 'one.c:3: error: spam'; exit 1\n",
         "' ended with 2", "one.c:3: error: spam"),
        ("Makefile.in", "all:\n\t@true\ninstall:\n\t@echo 'error: disk full'; exit 1\n",
         "'make install' ended with 2", "error: disk full"),
    ],
)  # fmt: skip
def test_a_build_that_fails_says_its_last_words_and_keeps_its_log(
    cache: Cache, source: Path, file: str, content: str, step: str, words: str
) -> None:
    original = (source / file).read_text()
    (source / file).write_text(content)
    with pytest.raises(BuildFailed) as caught:
        build_cpython("3.98.7", cache, Told(), source=str(source))
    message = str(caught.value)
    assert step in message
    (log,) = left(cache)
    assert message.endswith(f": {words} (log: {cache.root}/cpython/{log})")
    assert words in (cache.root / "cpython" / log).read_text()
    assert cache.built("cpython") == []
    (source / file).write_text(original)
    assert build_cpython("3.98.7", cache, Told(), source=str(source)).version == "3.98.7"


def test_what_becomes_something_else_is_not_kept(cache: Cache, tmp_path: Path) -> None:
    static = tree(tmp_path / "static", interpreter("3.98.7", shared=False))
    with pytest.raises(BuildFailed, match="it has no shared library"):
        build_cpython("3.98.7", cache, Told(), source=str(static))
    with_gil = msgspec.structs.replace(interpreter("3.98.7t"), free_threaded=False)
    with pytest.raises(BuildFailed, match="it has a GIL"):
        build_cpython("3.98.7t", cache, Told(), source=str(tree(tmp_path / "gil", with_gil)))
    dead = tree(tmp_path / "dead", interpreter("3.98.7"))
    (dead / "python.in").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(BuildFailed, match=r"is not a working Python interpreter \(log: .*\.log\)"):
        build_cpython("3.98.7", cache, Told(), source=str(dead))
    assert cache.built("cpython") == []


def test_modules_that_are_missing_are_reported_with_their_packages(
    cache: Cache, tmp_path: Path
) -> None:
    half = tree(tmp_path / "half", interpreter("3.98.7"), missing="ctypes ssl")
    python = build_cpython("3.98.7", cache, Told(), source=str(half))
    assert missing_modules(python) == {"ctypes": "libffi-dev", "ssl": "libssl-dev"}


def test_without_zlib_nothing_is_begun(cache: Cache, source: Path, tmp_path: Path) -> None:
    (tmp_path / "include" / "zlib.h").unlink()
    with pytest.raises(PrerequisiteMissing, match="apt-get install zlib1g-dev"):
        build_cpython("3.98.7", cache, Told(), source=str(source))
    assert left(cache) == []


# The command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["3.13"], "not a full version"),
        (["3.98.7", "--prebuilt", "--source", "here"], "leave --source, --sha256 and --jobs out"),
        (["3.98.7", "--source", "here", "--mirror", "there"], "give one of them"),
    ],
)
def test_what_makes_no_sense_is_reported_before_anything_begins(
    cache: Cache, arguments: list[str], words: str
) -> None:
    printed = CliRunner().invoke(cli, ["build", "python", *arguments])
    assert isinstance(printed.exception, UsageError)
    assert words in str(printed.exception)
    assert left(cache) == []


def test_a_warning_says_what_is_missing_and_how_to_get_it(cache: Cache, tmp_path: Path) -> None:
    half = tree(tmp_path / "half", interpreter("3.98.7"), missing="sqlite3")
    printed = CliRunner().invoke(cli, ["build", "python", "3.98.7", "--source", str(half)])
    assert printed.exit_code == 0
    assert "warning without sqlite3: on Debian 'apt-get install libsqlite3-dev'" in printed.output


def test_help_has_examples() -> None:
    printed = CliRunner().invoke(cli, ["build", "python", "--help"]).output
    assert "wsgiproof build python 3.13.15t --source Python-3.13.15.tar.xz" in printed


# What cuts a build off


class Slow:
    """The command, at work on a tree whose make waits for ``gate`` to go."""

    def __init__(self, source: Path, tmp: Path) -> None:
        self.gate = tmp / "gate"
        self.begun = tmp / "begun"
        self._source = source
        self._tmp = tmp
        makefile = (source / "Makefile.in").read_text()
        wait = f"all:\n\ttouch {self.begun}; while [ -e {self.gate} ]; do sleep 0.02; done\n"
        (source / "Makefile.in").write_text(makefile.replace("all:\n", wait))

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "wsgiproof", "build", "python", "3.98.7", "--source",
             str(self._source)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def cut_off(self, end: Callable[[subprocess.Popen[str]], None]) -> int:
        """End it while make is at work; its exit code."""
        self.gate.touch()
        process = self.start()
        limit = time.monotonic() + 120
        while not self.begun.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.02)
        end(process)
        process.communicate(timeout=120)
        return process.returncode

    def nothing_runs(self) -> bool:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            if not any(str(self._tmp / "cache") in _where(one) for one in psutil.process_iter()):
                return True
            time.sleep(0.05)
        return False


def _where(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


@pytest.fixture
def slow(source: Path, tmp_path: Path) -> Slow:
    return Slow(source, tmp_path)


def test_ctrl_c_ends_the_compiler_and_leaves_nothing(slow: Slow, cache: Cache) -> None:
    assert slow.cut_off(lambda process: process.send_signal(signal.SIGINT)) == 130
    assert slow.nothing_runs()
    assert left(cache) == []


def test_a_build_that_was_killed_is_done_anew(slow: Slow, cache: Cache) -> None:
    assert slow.cut_off(lambda process: process.kill()) == -signal.SIGKILL
    assert cache.built("cpython") == []
    slow.gate.unlink()
    again = slow.start()
    stdout, stderr = again.communicate(timeout=300)
    assert (again.returncode, stderr) == (0, "")
    (entry,) = cache.built("cpython")
    assert f"Python 3.98.7 is built: {entry}/bin/python3.98\n" in stdout
    assert "wsgiproof run --python 3.98.7\n" in stdout
    assert "\x1b" not in stdout
    assert left(cache) == [entry.name]
    assert slow.nothing_runs()
