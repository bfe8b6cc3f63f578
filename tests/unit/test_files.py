"""Reading and writing where less trusted code may have been first."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from wsgiproof.files import Directory, UnsafeFile, open_regular, read_file, write_atomically


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    assert read_file(tmp_path / "a", 4) == b"text"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "a").symlink_to("secret")
    with pytest.raises(UnsafeFile, match="symbolic link"):
        read_file(tmp_path / "a", 100)
    assert read_file(tmp_path / "a", 100, follow=True) == b"secret"


@pytest.mark.parametrize("follow", [False, True])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, follow: bool) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (*tmp_path.iterdir(), Path("/dev/zero")):
            with pytest.raises(UnsafeFile, match="not a regular file"):
                open_regular(path, follow=follow)


def test_a_link_to_a_device_is_refused_even_if_it_may_be_followed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/dev/zero")
    with pytest.raises(UnsafeFile, match="not a regular file"):
        read_file(tmp_path / "a", 100, follow=True)


def test_a_sparse_file_costs_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(30 << 30)
    with pytest.raises(UnsafeFile, match="larger than 1,000 bytes"):
        read_file(tmp_path / "a", 1000)


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "a").symlink_to("real")
    with pytest.raises(OSError, match="Not a directory"):
        Directory(tmp_path / "a")


def test_a_directory_stays_the_same_when_its_path_is_given_to_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"ours")
    with Directory(tmp_path / "a") as directory:
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "file").write_bytes(b"theirs")
        assert directory.read("file", 100) == b"ours"


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "a\0b"])
def test_a_name_stays_in_its_directory(tmp_path: Path, name: str) -> None:
    with Directory(tmp_path) as directory, pytest.raises(UnsafeFile, match="not the name"):
        directory.read(name, 100)


def test_a_file_is_made_with_its_mode_and_never_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "planted").symlink_to(tmp_path / "victim")
    before = os.umask(0)
    try:
        with Directory(tmp_path) as directory:
            directory.write("a", b"text", 0o640)
            with pytest.raises(FileExistsError):
                directory.write("planted", b"text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert not (tmp_path / "victim").exists()


def test_a_file_is_replaced_and_a_planted_link_with_it(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"old")
    (tmp_path / "a").symlink_to("victim")
    (tmp_path / "a.part").symlink_to("victim")
    write_atomically(b"new", tmp_path / "a")
    assert (tmp_path / "victim").read_bytes() == b"old"
    assert read_file(tmp_path / "a", 100) == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.part", "victim"]


def test_a_write_that_fails_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(b"new", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
