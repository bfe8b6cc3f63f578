"""Records that are not what they should be, through every command that reads them.

Real records of the corpus are changed: any value in them becomes any other, or the file itself is
damaged. Whatever comes of it, a command says so in its own words, with an exit code for that, and
touches nothing but what it was asked to write.
"""

from __future__ import annotations

import gzip
import io
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from junitparser import JUnitXml

from tests.unit.test_corpus import CORPUS, NAMES
from tests.unit.test_resume import job
from wsgiproof.cli import main
from wsgiproof.errors import UsageError
from wsgiproof.records.reading import load_run, reopen_output
from wsgiproof.run.session import split

HOSTILE = (
    "", "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "a\x00b", "\u202eevil\u2066", "\u200b", "\ufeff",
    "\u2028line\u2029", "\r::error::x", "\n::set-output name=a::b", "##vso[task.complete]x",
    "##[error]x", "section_start:1:a\r\x1b[0K", "[/]", "[bold red]x", "[link=file:///etc/passwd]",
    "<script>alert(1)</script>", "]]>", "&#0;", "| a | b |", "``` \n```", "@everyone", "../../etc",
    "/etc/passwd", "cells/..", "cells/a\0b", "%s%n", "{0}{x}", "x" * 5000, "\U0010ffff", "é" * 300,
    "nan", "-1", "2026-11-23T05:43:59+00:00", "9999999999-99-99",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**64, 10**30, 10**400, -(10**18), 0.0, -0.0, 0.1,
    1e-320, 1e308, -1e308, float("nan"), float("inf"),
)  # fmt: skip
TEXTS = some.sampled_from(HOSTILE) | some.text(max_size=20)
VALUES = some.recursive(
    some.none() | some.booleans() | some.sampled_from(NUMBERS) | some.integers() | TEXTS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
TYPED = {
    "directory", "verdict", "topology", "mode", "mpm", "interpreter", "role", "kind", "phases",
    "language", "gil", "why",
}  # fmt: skip
"""Fields that take some words only, or say where the record is."""
DOCUMENTED = {0, 1, 2, 3}
"""A record that makes no sense is no defect of ours."""


@cache
def cell_of(name: str) -> str:
    return gzip.decompress((CORPUS / f"{name}.json.gz").read_bytes()).decode()


@cache
def small() -> Sequence[str]:
    """The records that are quick to show; there is one of each kind among them."""
    return [name for name in NAMES if len(cell_of(name)) < 60_000]


def at_home(name: str) -> dict[str, Any]:
    """A record of the corpus, to be put where the first one is."""
    return {**json.loads(cell_of(name)), "directory": json.loads(cell_of(small()[0]))["directory"]}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items: Any = value.items() if isinstance(value, dict) else ()
    for key, one in enumerate(value) if isinstance(value, list) else items:
        yield from places(one, (*path, key))


def along(value: Any, path: tuple[Any, ...]) -> Iterator[Any]:
    yield value
    for key in path:
        if isinstance(value, str):
            raise TypeError
        value = value[key]
        yield value


def alike(value: Any) -> some.SearchStrategy[Any]:
    """Values that may be taken for this one."""
    if isinstance(value, bool) or value is None:
        return VALUES
    if isinstance(value, str):
        return TEXTS
    if isinstance(value, int):
        return some.sampled_from([one for one in NUMBERS if isinstance(one, int)])
    return some.sampled_from(NUMBERS) if isinstance(value, float) else VALUES


@some.composite
def changed(draw: Any, name: str) -> bytes:
    """A record of the corpus with some of its values changed."""
    document = at_home(name)
    # Each kind of place is as likely, however many there are of it.
    kinds: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for path in places(document):
        kinds.setdefault(tuple(key for key in path if isinstance(key, str)), []).append(path)
    for _ in range(draw(some.integers(1, 3))):
        path = draw(some.sampled_from(draw(some.sampled_from(list(kinds.values())))))
        if not path:
            continue
        try:
            *_, parent, old = along(document, path)
        except (LookupError, TypeError):
            continue  # an earlier change took it away
        parent[path[-1]] = draw(alike(old) if draw(some.integers(0, 4)) else VALUES)
    return json.dumps(document).encode()


@some.composite
def damaged(draw: some.DrawFn, name: str) -> bytes:
    """A file that is no record any more."""
    content = json.dumps(at_home(name)).encode()
    at = draw(some.integers(0, len(content)))
    return draw(
        some.sampled_from(
            [
                content[:at],
                content[:at] + b"\xff\xfe" + content[at:],
                content[:at] + b"[" * 100_000 + content[at:],
                b"[" * 100_000,
                b'{"format": 2, "cell": ' + b'{"a":' * 50_000,
                b'{"format": 2,' + content[1:-1] + b"," + content[1:],
                content.replace(b'"requests":', b'"requests":1e400,"requests":', 1),
                content.replace(b'"', b'"\\ud800', 2),
                b"\0" * 1000,
                b"null",
                b"",
            ]
        )
    )


def header(cell: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "format": 2, "wsgiproof": "0.1", "command": "wsgiproof run", "complete": True,
        "started": "2026-11-23T05:43:59+00:00", "finished": "2026-11-23T05:53:59+00:00",
        "host": {"system": "Linux"}, "planned": ["a"], "excluded": [
            {"axes": {"python": "2.7"}, "reason": "too old", "cell": "b"},
        ], "cells": [{"directory": cell["directory"]}], **changes,
    }  # fmt: skip


@contextmanager
def captured() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    streams = io.BytesIO(), io.BytesIO()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (io.TextIOWrapper(one, "utf-8", write_through=True) for one in streams)
    try:
        yield streams
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            stream.detach()
        sys.stdout, sys.stderr = before


def command(*arguments: str | Path) -> str:
    """Run a command, which must end in its own words, and give what it has printed on stdout."""
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    before = sys.argv
    sys.argv = ["wsgiproof", *map(str, arguments)]
    try:
        with captured() as (out, err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
        for one, handler in handlers.items():
            signal.signal(one, handler)
    printed, said = out.getvalue().decode(), err.getvalue().decode()
    assert int(ended.value.code or 0) in DOCUMENTED, said
    assert "Traceback" not in said
    check(printed)
    check(said)
    return printed


def check(text: str) -> None:
    """Nothing in it steers a terminal or a CI system."""
    for line in text.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not line.lstrip().startswith("::"), line
        for marker in ("##vso[", "##[", "##teamcity["):
            assert marker not in line, line


def snapshot(directory: Path) -> Mapping[str, bytes]:
    return {str(one): one.read_bytes() for one in directory.rglob("*") if one.is_file()}


def lay(where: Path, content: bytes, header_of: bytes | None = None) -> Path:
    cell = json.loads(cell_of(small()[0]))
    directory = where / "run" / cell["directory"]
    directory.mkdir(parents=True)
    (directory / "cell.json").write_bytes(content)
    (where / "run").chmod(0o700)
    head = json.dumps(header(cell)).encode() if header_of is None else header_of
    (where / "run" / "results.json").write_bytes(head)
    other = where / "other" / cell["directory"]
    other.mkdir(parents=True)
    (other / "cell.json").write_text(cell_of(small()[0]))
    (where / "other" / "results.json").write_text(json.dumps(header(cell)))
    (where / "etc").mkdir()
    (where / "etc" / "cell.json").write_text("not to be touched")
    return where / "run"


def through_every_command(run: Path, *, page: bool) -> None:
    """All that read a record, and change nothing but what they are to write."""
    where = run.parent
    before = snapshot(where)
    written = where / "out"
    commands: list[Sequence[str | Path]] = [
        ("show", run),
        ("show", run, "--json", "--junit", written / "junit.xml", "--summary", written / "s.md"),
        ("show", run, "--rejudge"),
        ("compare", where / "other", run),
        ("compare", run, where / "other", "--json"),
        ("report", "--trends", run, where / "other", "--by", "pymongo"),
        ("report", "--trends", run, "--json"),
        ("merge", run, "--output", written / "merged"),
    ]
    if page:
        commands.append(("report", run, "--compare", where / "other", "-o", written / "page.html"))
    for words in commands:
        printed = command(*words)
        if "--json" in words and printed:
            json.loads(printed)
    if (written / "junit.xml").exists():
        JUnitXml.fromfile(str(written / "junit.xml"))
    after = snapshot(where)
    assert {name: after.get(name) for name in before} == before
    assert {
        name for name in after if name not in before and not name.startswith(str(written))
    } == set()


def resumed(run: Path) -> None:
    """What ``--resume`` reads before it runs anything."""
    try:
        reopen_output(run)
    except UsageError:
        return
    before = {one: run.parent / one / "cell.json" for one in ("etc",)}
    done, left = split([job(0)], run)
    assert (len(done), len(left)) == (0, 1)
    assert all(path.read_text() == "not to be touched" for path in before.values())


FUZZ = settings(
    deadline=None, derandomize=True, max_examples=12, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@FUZZ
@given(some.data())
def test_a_changed_cell_goes_through_every_command(data: Any) -> None:
    content = data.draw(some.sampled_from(small()).flatmap(changed))
    with tempfile.TemporaryDirectory(prefix="wsgiproof-test-") as scratch:
        run = lay(Path(scratch), content)
        through_every_command(run, page=data.draw(some.integers(0, 9)) == 0)
        resumed(run)


@FUZZ
@given(some.sampled_from(small()).flatmap(damaged))
def test_a_damaged_cell_goes_through_every_command(content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="wsgiproof-test-") as scratch:
        run = lay(Path(scratch), content)
        for words in (("show", run), ("show", run, "--rejudge"), ("report", "--trends", run)):
            command(*words)
        resumed(run)


@FUZZ
@given(some.data())
def test_a_changed_results_json_goes_through_every_command(data: Any) -> None:
    cell = json.loads(cell_of(small()[0]))
    document = header(cell)
    for key in data.draw(some.sets(some.sampled_from(sorted(document)), min_size=1, max_size=3)):
        document[key] = data.draw(alike(document[key]) | VALUES)
    if data.draw(some.booleans()):
        document["cells"] = [{"directory": data.draw(TEXTS)}]
    with tempfile.TemporaryDirectory(prefix="wsgiproof-test-") as scratch:
        head = json.dumps(document).encode()
        run = lay(Path(scratch), cell_of(small()[0]).encode(), head)
        through_every_command(run, page=False)
        resumed(run)


@pytest.mark.parametrize("shift", range(4))
def test_a_record_full_of_hostile_text_goes_through_every_command(
    shift: int, tmp_path: Path
) -> None:
    """In every place that takes any text at once, another one in each."""
    document = at_home(small()[-1 - shift])
    for number, path in enumerate(places(document), shift):
        if not path:
            continue
        *_, parent, old = along(document, path)
        if isinstance(old, str) and not TYPED.intersection(path[-2:]):
            parent[path[-1]] = HOSTILE[number % len(HOSTILE)]
    run = lay(tmp_path, json.dumps(document).encode())
    assert load_run(run).cells
    through_every_command(run, page=shift == 0)
