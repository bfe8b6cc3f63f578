"""Apache installations of other layouts, as their own programs describe them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgiproof.config.model import Config
from wsgiproof.errors import PrerequisiteMissing, UsageError
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.httpd import find_apaches, find_httpd
from wsgiproof.provision.toolchain import Apache
from wsgiproof.records.cell import MOD_WSGI_HTTPD, Mpm
from wsgiproof.run.preflight import requested_apaches


def program(path: Path, answers: dict[str, str]) -> Path:
    """A program that prints a given text for each argument."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cases = "".join(f"'{words}') printf '%s\\n' '{said}';;\n" for words, said in answers.items())
    path.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) exit 1;;\nesac\n')
    path.chmod(0o755)
    return path


def installation(
    root: Path, *, apxs: str, httpd: str, modules: str, static: tuple[str, ...]
) -> tuple[Path, Path]:
    """An ``apxs`` and a server of this layout below ``root``."""
    server = root / httpd
    listed = "Compiled in modules:\n" + "\n".join(f"  {name}.c" for name in static)
    program(
        server,
        {
            "-v": "Server version: Apache/2.4.62 (Fedora Linux)\nServer built:   Aug  1 2026",
            "-l": listed,
        },
    )
    tool = program(
        root / apxs,
        {
            "-q SBINDIR": str(server.parent),
            "-q PROGNAME": server.name,
            "-q LIBEXECDIR": str(root / modules),
        },
    )
    (root / modules).mkdir(parents=True)
    return tool, server


def test_fedoras_layout_with_its_mpms_as_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, server = installation(
        tmp_path,
        apxs="usr/bin/apxs",
        httpd="usr/sbin/httpd",
        modules="usr/lib64/httpd/modules",
        static=("core", "mod_so", "http_core"),
    )
    for mpm in ("event", "prefork"):
        (tmp_path / f"usr/lib64/httpd/modules/mod_mpm_{mpm}.so").touch()
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    for found in (find_httpd(), find_httpd(apxs=str(tool)), find_httpd(httpd=str(server))):
        assert found is not None
        assert (found.version, found.httpd, found.apxs) == ("2.4.62", server, tool)
        assert found.modules == tmp_path / "usr/lib64/httpd/modules"
        assert found.mpms == (Mpm.PREFORK, Mpm.EVENT)
        assert found.static == {"core", "so", "http_core"}


def test_apaches_own_layout_with_an_mpm_that_is_compiled_in(tmp_path: Path) -> None:
    tool, server = installation(
        tmp_path,
        apxs="apache2/bin/apxs",
        httpd="apache2/bin/httpd",
        modules="apache2/modules",
        static=("core", "mod_so", "event"),
    )
    found = find_httpd(httpd=str(server))
    assert found is not None
    assert found.apxs == tool
    assert found.mpms == (Mpm.EVENT,)


def test_a_server_without_an_apxs_beside_it_says_how_to_name_one(tmp_path: Path) -> None:
    tool, server = installation(
        tmp_path, apxs="a/apxs", httpd="b/c/httpd", modules="modules", static=()
    )
    with pytest.raises(UsageError, match="name it with --apxs"):
        find_httpd(httpd=str(server))
    found = find_httpd(httpd=str(server), apxs=str(tool))
    assert found is not None
    assert found.httpd == server


def apache(root: Path, version: str = "2.4.62") -> str:
    """The path of a server below ``root``, with its apxs beside it."""
    _, server = installation(
        root, apxs="bin/apxs", httpd="bin/httpd", modules="modules", static=("event",)
    )
    server.write_text(server.read_text().replace("2.4.62", version))
    return str(server)


def test_several_apaches_have_names_and_one_alone_has_none(tmp_path: Path) -> None:
    one, other = apache(tmp_path / "one"), apache(tmp_path / "other", "2.4.57")
    assert [a.name for a in find_apaches((one,))] == [""]
    found = find_apaches((one, other, MOD_WSGI_HTTPD))
    assert [a.name for a in found] == ["2.4.62", "2.4.57", "2.4.69"]
    assert [a.asked for a in found] == [one, other, MOD_WSGI_HTTPD]
    assert found[0].httpd is not None
    assert found[0].httpd.apxs == tmp_path / "one" / "bin" / "apxs"
    assert (found[2].httpd, found[2].mpms) == (None, tuple(Mpm)), "it is not built yet"


def test_apaches_of_the_same_version_are_named_by_their_paths_in_any_order(tmp_path: Path) -> None:
    one, other = apache(tmp_path / "one"), apache(tmp_path / "other")
    names = {a.asked: a.name for a in find_apaches((one, other))}
    assert names[one].startswith("2.4.62-")
    assert names[one].endswith("one_bin_httpd")
    assert names[one] != names[other]
    assert {a.asked: a.name for a in find_apaches((other, one))} == names


def test_two_paths_to_one_server_are_refused(tmp_path: Path) -> None:
    one = apache(tmp_path / "one")
    link = tmp_path / "one" / "bin" / "apache2"
    link.symlink_to(one)
    with pytest.raises(UsageError, match=f"{one} and --httpd {link} are the same server: name one"):
        find_apaches((one, str(link)))


@pytest.mark.parametrize(("path", "said"), [("/bin/true", "nothing"), ("/bin/echo", "-v")])
def test_a_program_that_is_no_httpd_is_refused(path: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"--httpd {path} is not Apache's server: .* says {said}"):
        find_apaches((path,))


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "httpd"
    file.write_text("")
    with pytest.raises(UsageError, match=r"is not Apache's server: 'httpd -v' says .*Permission"):
        find_apaches((str(file),))
    with pytest.raises(UsageError, match="--httpd: there is no file"):
        find_apaches((str(tmp_path / "none"),))


def test_an_apxs_belongs_to_one_server(tmp_path: Path) -> None:
    one, other = apache(tmp_path / "one"), apache(tmp_path / "other")
    apxs = str(tmp_path / "one" / "bin" / "apxs")
    with pytest.raises(UsageError, match=r"--apxs .* belongs to one --httpd, and 2 are given"):
        find_apaches((one, other), apxs)
    with pytest.raises(UsageError, match="brings its own"):
        find_apaches((MOD_WSGI_HTTPD,), apxs)
    assert find_apaches((one,), apxs) == find_apaches((one,))


def test_an_apache_without_the_mpm(tmp_path: Path) -> None:
    """Alone it has no cell; beside another one, it has those of the MPM that it has."""
    event, bare = apache(tmp_path / "event"), apache(tmp_path / "bare", "2.4.57")
    Path(bare).write_text(Path(bare).read_text().replace("event.c", "core.c"))
    cache = Cache(tmp_path / "cache")

    def found(*paths: str, mpm: tuple[str, ...]) -> tuple[Apache, ...]:
        return requested_apaches(Config(axes={"httpd": paths, "mpm": mpm}), cache)

    with pytest.raises(PrerequisiteMissing, match=f"{event} has no MPM 'prefork', only event"):
        found(event, mpm=("prefork", "event"))
    assert len(found(event, MOD_WSGI_HTTPD, mpm=("prefork", "event"))) == 2
    for paths in ((bare,), (bare, event)):
        with pytest.raises(PrerequisiteMissing, match=f"{bare} has no MPM 'event', nor any other"):
            found(*paths, mpm=("event",))
