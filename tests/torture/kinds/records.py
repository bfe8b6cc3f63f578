"""Damaged and malicious records, and all commands that read them."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

from tests.torture.sandbox import Sandbox, options

WEIGHT = 22
DAMAGES = (
    "truncate",
    "empty",
    "flip a bit",
    "flip many bits",
    "FIFO",
    "socket",
    "link to the victim",
    "link to /dev/zero",
    "link to /dev/tty",
    "directory",
    "sparse 30 GB",
    "nested JSON",
    "escape sequences",
    "commands of a CI system",
    "a directory above",
    "NUL in the directory",
    "an absolute directory",
    "huge numbers",
    "wrong types",
    "lone surrogates",
    "another format",
    "mode 000",
    "deleted",
    "two of the same cell",
)
FILES = ("results.json", "cell.json")
COMMANDS = ("show", "report", "rejudge", "compare", "merge", "resume", "trends")
VARIANTS = [(damage, file) for damage in DAMAGES for file in FILES]


def missing() -> str:
    """Records can always be damaged."""
    return ""


def draw(variant: tuple[str, str], rng: random.Random) -> dict[str, Any]:
    """Choose what is damaged, where, and which commands read it."""
    damage, file = variant
    return {
        "damage": damage,
        "file": file,
        "commands": rng.sample(COMMANDS, 3),
        "where": rng.randrange(1 << 20),
    }


def inject(box: Sandbox, details: dict[str, Any]) -> None:
    """Damage a copy of a run, and read it."""
    shutil.copytree(box.setup.base, box.output)
    outside = box.root / "outside"
    outside.mkdir()
    rng = random.Random(details["where"])
    cells = sorted(box.output.glob("cells/*/cell.json"))
    path = box.output / "results.json" if details["file"] == "results.json" else rng.choice(cells)
    # What a path that leads out of the run would find.
    text = path.read_text().replace("11 checks", "the words from outside")
    for name in ("cell.json", "results.json"):
        (outside / name).write_text(text)
    _damage(box, path, details["damage"], rng, outside)
    before = _listing(outside)
    for command in details["commands"]:
        arguments = _arguments(box, command)
        if command == "resume":
            ended = box.finish(box.start(*arguments))
            box.check_code(ended, _codes(command), command)
        else:
            ended = box.quick(*arguments, codes=_codes(command))
        if ended.hung:
            break  # one hang is enough, and each takes long
        box.check_terminal(ended)
        if "the words from outside" in ended.out:
            box.report("harm", f"{command} has read a record from outside of the run")
    if _listing(outside) != before:
        box.report("harm", "something outside of the run was changed")
    box.settle(directories=False)


def _codes(command: str) -> tuple[int, ...]:
    """Return the allowed exit codes: a damaged record is a usage error, or an incomplete run, or
    still readable."""
    return (0, 2, 3) if command in ("report", "trends") else (0, 1, 2, 3)


def _arguments(box: Sandbox, command: str) -> list[str]:
    output, base = str(box.output), box.setup.base
    page = ["--output", str(box.root / "page.html")]
    return {
        "show": [
            "show",
            output,
            "--junit",
            str(box.root / "j.xml"),
            "--summary",
            str(box.root / "s.md"),
        ],
        "report": ["report", output, *page],
        "rejudge": ["show", "--rejudge", output],
        "compare": ["compare", base, output],
        "merge": ["merge", output, base, "--output", str(box.root / "merged")],
        # Nothing is left to do, or the record is refused; if it is lost, its cell is run again.
        "resume": ["run", *options(mode="daemon+embedded"), "--resume", output],
        "trends": ["report", "--trends", base, output],
    }[command]


def _listing(directory: Path) -> list[tuple[str, int, int]]:
    found = []
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        found.append((path.name, status.st_mode, status.st_mtime_ns))
    return found


def _damage(box: Sandbox, path: Path, what: str, rng: random.Random, outside: Path) -> None:
    content = path.read_bytes()
    if what in _STRUCTURAL:
        _STRUCTURAL[what](box, path, outside)
    elif what in _TEXTUAL:
        path.write_bytes(_TEXTUAL[what](content, rng))
    else:
        _change_meaning(box, path, what, outside)


def _replace_by(make: Any) -> Any:
    def damage(box: Sandbox, path: Path, outside: Path) -> None:
        path.unlink()
        make(box, path)

    return damage


def _sparse(box: Sandbox, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(30 << 30)


def _socket(box: Sandbox, path: Path) -> None:
    import socket

    os.chdir(path.parent)  # the path itself is too long for a socket
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir("/")


_STRUCTURAL: dict[str, Any] = {
    "FIFO": _replace_by(lambda box, path: os.mkfifo(path)),
    "socket": _replace_by(_socket),
    "link to the victim": _replace_by(
        lambda box, path: path.symlink_to(box.root / "outside" / "cell.json")
    ),
    "link to /dev/zero": _replace_by(lambda box, path: path.symlink_to("/dev/zero")),
    "link to /dev/tty": _replace_by(lambda box, path: path.symlink_to("/dev/tty")),
    "directory": _replace_by(lambda box, path: path.mkdir()),
    "sparse 30 GB": _replace_by(_sparse),
    "deleted": _replace_by(lambda box, path: None),
    "mode 000": lambda box, path, outside: path.chmod(0),
}


def _flipped(content: bytes, rng: random.Random, count: int) -> bytes:
    changed = bytearray(content)
    for _ in range(count):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


_STEERING = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\r\b"
_CI = "harmless\n##vso[task.complete result=Failed;]\n::error file=x::owned\n::set-output name=x::y"

_TEXTUAL: dict[str, Any] = {
    "truncate": lambda content, rng: content[: rng.randrange(len(content))],
    "empty": lambda content, rng: b"",
    "flip a bit": lambda content, rng: _flipped(content, rng, 1),
    "flip many bits": lambda content, rng: _flipped(content, rng, 50),
    "nested JSON": lambda content, rng: b'{"format": 2, "cells": ' + b"[" * 200_000,
}


def _change_meaning(box: Sandbox, path: Path, what: str, outside: Path) -> None:
    """Change the meaning of a record, but keep valid JSON."""
    record = json.loads(path.read_bytes())
    if what == "another format":
        record["format"] = 99
    elif "directory" in what:
        name = {
            "a directory above": os.path.relpath(outside, box.output),
            "an absolute directory": str(outside),
            "NUL in the directory": "cells/\0",
        }[what]
        _set(record, "directory", lambda _: name)
    elif what == "two of the same cell":
        if "cells" in record:
            record["cells"] *= 2
        shutil.copytree(path.parent, f"{path.parent}-again") if path.name == "cell.json" else None
    elif what == "huge numbers":
        _set(record, None, lambda value: 10**400 if isinstance(value, int | float) else value)
    elif what == "wrong types":
        _set(record, None, lambda value: [value] if isinstance(value, str) else value)
    elif what == "lone surrogates":
        _set(record, None, lambda value: f"{value}\ud800" if isinstance(value, str) else value)
    else:
        steering = _STEERING if what == "escape sequences" else _CI
        for key in ("reason", "command", "rerun", "seen", "text", "message", "system"):
            _set(
                record, key, lambda value: f"{value}{steering}" if isinstance(value, str) else value
            )
    path.write_text(json.dumps(record))


def _set(value: Any, key: str | None, change: Any) -> None:
    """Change each nested value with this key, or every value if ``key`` is None."""
    if isinstance(value, dict):
        for name in value:
            if isinstance(value[name], dict | list):
                _set(value[name], key, change)
            elif (key is None and name != "format") or name == key:
                value[name] = change(value[name])
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, dict | list):
                _set(item, key, change)
            elif key is None:
                value[number] = change(item)
