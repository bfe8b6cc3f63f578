"""Apache installations of other layouts, as their own programs describe them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgiproof.errors import UsageError
from wsgiproof.provision.httpd import find_httpd
from wsgiproof.records.cell import Mpm


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
