"""The files of a cell as one value: what is packed, and what a hostile value can't do."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgspec
import pytest

from wsgiproof.errors import UsageError
from wsgiproof.records import parcel
from wsgiproof.records.parcel import PackedFile, pack, unpack


def packed(*files: tuple[tuple[str, ...], bytes]) -> bytes:
    return msgspec.msgpack.encode(
        [PackedFile(path, zlib.compress(content)) for path, content in files]
    )


def test_files_arrive_as_they_were_and_nothing_else_does(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "cell" / "cores").mkdir(parents=True)
    (source / "cell" / "cell.json").write_bytes(b"{}")
    (source / "cell" / "cores" / "stack.txt").write_bytes(bytes(range(256)) * 1000)
    secret = tmp_path / "secret"
    secret.write_text("of root")
    (source / "cell" / "link").symlink_to(secret)
    (source / "directory").symlink_to(tmp_path)
    os.mkfifo(source / "cell" / "fifo")
    unpack(pack(source), tmp_path / "target")
    found = sorted(path for path in (tmp_path / "target").rglob("*") if path.is_file())
    assert [str(path.relative_to(tmp_path / "target")) for path in found] == [
        "cell/cell.json",
        "cell/cores/stack.txt",
    ]
    assert found[1].read_bytes() == bytes(range(256)) * 1000


def test_what_is_too_large_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "LARGEST", 2 << 20)
    source = tmp_path / "source"
    source.mkdir()
    (source / "cell.json").write_bytes(b"{}")
    (source / "core").write_bytes(bytes(3 << 20))
    unpack(pack(source), tmp_path / "target")
    assert (tmp_path / "target" / "cell.json").read_bytes() == b"{}"
    assert not (tmp_path / "target" / "core").exists()
    assert (tmp_path / "target" / "left-out.txt").read_text() == "core (3,145,728 bytes)\n"


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("",),
        (".",),
        ("..", "x"),
        ("a", "..", "..", "x"),
        ("/etc/x",),
        ("a/b",),
        ("a\0b",),
        ("first", "x"),
        ("first",),
        tuple("abcdefghijklm"),
    ],
    ids=repr,
)
def test_no_name_leaves_the_directory_or_writes_over_a_file(
    tmp_path: Path, path: tuple[str, ...]
) -> None:
    place = tmp_path / "place"
    with pytest.raises(UsageError, match="an archive of a cell names"):
        unpack(packed((("first",), b"1"), (path, b"2")), place)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["place"]
    assert (place / "first").read_bytes() == b"1"


def test_sizes_are_counted_as_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "LARGEST", 1 << 20)
    half = bytes(600 << 10)
    with pytest.raises(UsageError, match="more than 1 MiB"):
        unpack(packed((("one",), half), (("two",), half)), tmp_path / "halves")
    monkeypatch.setattr(parcel, "MOST_FILES", 3)
    with pytest.raises(UsageError, match="more than 3 files"):
        unpack(packed(*(((str(n),), b"") for n in range(4))), tmp_path / "many")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        b"not msgpack",
        msgspec.msgpack.encode([[["x"], b"not zlib"]]),
        msgspec.msgpack.encode([[["x"], zlib.compress(b"x" * 1000)[:-5]]]),
        msgspec.msgpack.encode([[["x", 1], b""]]),
        b"\x91" * 100_000,
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError):
        unpack(content, tmp_path / "place")
