"""Evidence that a hostile application has made, replaced or removed: every reader, every kind."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.cells import CELL
from tests.unit.factories import RULES, identity, observed
from wsgiproof.judge.verdict import RESTS_ON, judge
from wsgiproof.observe import evidence as module
from wsgiproof.observe.cores import crashed_thread, take_core
from wsgiproof.observe.evidence import Evidence
from wsgiproof.observe.fatal_traces import read_fatal_traces, read_leftover_threads, read_loaded
from wsgiproof.observe.in_flight import read_unfinished
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.observed import EvidenceKind, MissingEvidence

SUBJECT = ("version",)
"""What the subject has to say of itself."""

READERS: dict[str, Callable[[Evidence], object]] = {
    "fatal-7.txt": read_fatal_traces,
    "leftover-7.txt": read_leftover_threads,
    "identity-7.txt": lambda evidence: read_loaded(evidence, (), SUBJECT),
    "requests-7-token": read_unfinished,
    "core-7/core": lambda evidence: take_core(evidence, 7),
}
SECRET = b"7 1.0 - /of-root-alone\n"
ELF = b"\x7fELF"
SPARSE = 30 << 30


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    (tmp_path / "evidence").mkdir()
    return Evidence(tmp_path / "evidence")


def link(path: Path) -> None:
    victim = path.parent.parent / "victim"
    victim.write_bytes(ELF + SECRET if "core" in str(path) else SECRET)
    path.symlink_to(victim)


def hard_link(path: Path) -> None:
    victim = path.parent.parent / "victim"
    victim.write_bytes(ELF + SECRET if "core" in str(path) else SECRET)
    path.hardlink_to(victim)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # its path may be too long for it
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(ELF if "core" in str(path) else b"")
        file.truncate(SPARSE)


def closed(path: Path) -> None:
    path.write_bytes(SECRET)
    path.chmod(0)


PLANTS = (link, hard_link, endless, os.mkfifo, unix_socket, Path.mkdir, sparse)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_of_bearable_size_is_neither_followed_nor_waited_for(
    evidence: Evidence, name: str, plant: Callable[[Path], None]
) -> None:
    path = evidence.path / name
    path.parent.mkdir(exist_ok=True)
    plant(path)
    assert not READERS[name](evidence), "something was read"
    kind = name.partition("-")[0]
    if plant is not sparse and kind != "core":
        (missing,) = evidence.missing()
        assert missing.kind == kind
        assert name in missing.reasons[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else can be given a file")
@pytest.mark.parametrize("name", READERS)
def test_a_file_of_another_user_is_none_of_their_evidence(evidence: Evidence, name: str) -> None:
    path = evidence.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(ELF if "core" in name else SECRET)
    os.chown(path, 65534, -1)
    assert not READERS[name](evidence)


@pytest.mark.parametrize("name", READERS)
def test_a_directory_that_is_gone_or_a_link_is_noted(evidence: Evidence, name: str) -> None:
    evidence.path.rmdir()
    assert not READERS[name](evidence)
    evidence.path.symlink_to("/etc")
    assert not READERS[name](evidence)
    if "core" not in name:
        told: dict[str, tuple[str, ...]] = {one.kind: one.reasons for one in evidence.missing()}
        assert "can't be read" in told[name.partition("-")[0]][0]


GARBAGE = {
    "bytes": b"\xff\xfe\0\x80" * 1000,
    "text": b"nothing of the kind\n" * 100,
    "nested": b"[" * 200_000 + b"\n" + b'{"threads": [' + b'{"a":' * 200_000,
    "numbers": b"9" * 5000 + b" 1.0 /url\n1 nan /url\n1 1e999 /url\n-1 1.0 /url\n1 x /url\n",
    "huge pid": b'{"pid": ' + b"9" * 300 + b"}\n",
    "surrogate": b'{"application_group": "\\ud800", "threads": ["\\udfff"]}\n',
    "null": b"null\n[]\n0\n{}\n",
    "long": b"x" * 3_000_000,
    "ELF": ELF + b"\xff" * 200_000,
    "ELF of nothing": ELF,
}


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("name", READERS)
def test_content_that_is_garbage_is_no_error_and_can_be_recorded(
    evidence: Evidence, name: str, garbage: str
) -> None:
    path = evidence.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(GARBAGE[garbage])
    found = READERS[name](evidence)
    if isinstance(found, Path):
        assert crashed_thread(found) == 0
    else:
        assert len(msgspec.json.encode(found)) < 500_000
        again = msgspec.json.decode(msgspec.json.encode({"all": found}))
        assert again["all"] is None or len(again["all"]) <= 20


def test_names_that_nobody_of_ours_gives_are_passed_over(evidence: Evidence) -> None:
    for name in (
        b"requests-x-y",
        b"requests-",
        b"requests-7",
        b"requests-7-\xff",
        b"requests-7-a\nb",
        b"requests-99999999999999999999999-token",
        b"requests-0-token",
        "requests-\N{ARABIC-INDIC DIGIT SEVEN}-token".encode(),
        b"identity-x.txt",
        b"leftover-.txt",
        b"fatal--1.txt",
        b"fatal-" + b"1" * 200 + b".txt",
    ):
        (evidence.path / os.fsdecode(name)).write_bytes(SECRET)
    for read in READERS.values():
        assert not read(evidence)
    assert evidence.missing() == ()


def test_many_files_are_looked_at_up_to_a_bound_and_that_is_noted(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_NAMES", 100)
    for number in range(1, 301):
        (evidence.path / f"requests-{number}-token").write_bytes(SECRET)
    assert 0 < len(read_unfinished(evidence)) <= 100
    (missing,) = evidence.missing()
    assert "more than 100 files" in missing.reasons[0]


def test_what_many_files_hold_is_read_up_to_a_bound(evidence: Evidence) -> None:
    for number in range(1, 301):
        (evidence.path / f"fatal-{number}.txt").write_bytes(b"x" * 100_000)
    assert sum(map(len, read_fatal_traces(evidence))) < 4_000_000
    (missing,) = evidence.missing()
    assert "only the first 8,388,608 bytes were read" in missing.reasons[0]
    assert len(read_unfinished(evidence)) == 0


def test_a_core_is_moved_to_where_only_we_can_write(evidence: Evidence) -> None:
    (evidence.path / "core-7").mkdir()
    (evidence.path / "core-7" / "core.7").write_bytes(ELF + b"rest")
    core = take_core(evidence, 7)
    assert core is not None
    assert core.read_bytes() == ELF + b"rest"
    assert core.parent.stat().st_mode & 0o777 == 0o700
    assert evidence.path not in core.parents
    assert not list((evidence.path / "core-7").iterdir())
    assert take_core(evidence, 7) is None


def test_a_link_in_place_of_a_core_directory_is_not_followed(
    evidence: Evidence, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "core").write_bytes(ELF)
    (evidence.path / "core-7").symlink_to(tmp_path / "elsewhere")
    assert take_core(evidence, 7) is None
    assert (tmp_path / "elsewhere" / "core").exists()
    assert [one.kind for one in evidence.missing()] == ["core"]


# What has to be there


TOKEN = "ab12"
LOADED = identity(pid=7, token=TOKEN)
ANSWER = {
    "pid": 7,
    "token": TOKEN,
    "interpreter_id": 1,
    "gil": "shared",
    "application_group": "interpreter1",
    "process_group": "subject",
    "python": "3.11.7",
    "mod_wsgi": "5.0.2",
    "subject": {"version": "1.0"},
    "mpm": "prefork",
    "gil_enabled": True,
    "prefix": "/env",
    "thread_id": 1,
    "request": 0,
    "problems": [],
}


@pytest.fixture
def whole(evidence: Evidence) -> Evidence:
    """All that an interpreter which has answered leaves."""
    (evidence.path / "identity-7.txt").write_bytes(msgspec.json.encode(ANSWER) + b"\n")
    (evidence.path / f"requests-7-{TOKEN}").write_bytes(b"\n" * 64)
    (evidence.path / "fatal-7.txt").write_bytes(b"")
    return evidence


def missing(evidence: Evidence, **changes: object) -> list[str]:
    """The kinds of what is not there of an interpreter that has answered."""
    read_loaded(evidence, (msgspec.structs.replace(LOADED, **changes),), SUBJECT)
    return [one.kind for one in evidence.missing()]


def test_evidence_that_is_whole_misses_nothing(whole: Evidence) -> None:
    assert missing(whole) == []


@pytest.mark.parametrize(
    "name, kind",
    [("identity-7.txt", "identity"), (f"requests-7-{TOKEN}", "requests"), ("fatal-7.txt", "fatal")],
)
def test_a_file_that_is_gone_or_replaced_is_missed(whole: Evidence, name: str, kind: str) -> None:
    (whole.path / name).unlink()
    assert missing(whole) == [kind]
    (whole.path / name).symlink_to("/dev/null")
    assert kind in missing(Evidence(whole.path))


def test_who_has_emptied_the_note_of_an_identity_is_found_out(whole: Evidence) -> None:
    (whole.path / "identity-7.txt").write_bytes(b"")
    assert missing(whole) == ["identity"]


@pytest.mark.parametrize(
    "changes", [{"python": "2.7.18"}, {"gil": "own"}, {"gil": "none"}, {"gil": None}], ids=str
)
def test_who_can_not_load_faulthandler_leaves_no_last_words(
    whole: Evidence, changes: dict[str, object]
) -> None:
    (whole.path / "fatal-7.txt").unlink()
    assert missing(whole, **changes) == []


@pytest.mark.parametrize("token", ["../x", "x" * 5000, "a\0b", "\udc80", ""])
def test_an_answer_may_say_anything(whole: Evidence, token: str) -> None:
    assert missing(whole, token=token) == ["identity", "requests"]


def test_all_of_it_removed_is_missed_in_each_kind(evidence: Evidence) -> None:
    assert missing(evidence) == ["fatal", "identity", "requests"]
    evidence.path.rmdir()
    assert missing(Evidence(evidence.path)) == ["fatal", "identity", "requests"]


def test_few_reasons_of_many_are_kept(evidence: Evidence) -> None:
    read_loaded(evidence, [identity(pid=pid) for pid in range(1, 101)], SUBJECT)
    one = next(one for one in evidence.missing() if one.kind == "fatal")
    assert len(one.reasons) == 6
    assert one.reasons[-1] == "95 more like these"


# What comes of it


@pytest.mark.parametrize("kind", ["core", "fatal", "identity", "log", "leftover", "requests"])
def test_a_check_whose_evidence_is_missing_is_undecided(kind: EvidenceKind) -> None:
    gone = MissingEvidence(kind=kind, reasons=("a file is gone", "and another"))
    judged = judge(CELL, observed(missing=(gone,)), RULES)
    undecided = {one.check for one in judged.checks if one.verdict is Verdict.INCONCLUSIVE}
    assert undecided == {check for check, kinds in RESTS_ON.items() if kind in kinds} - {"restart"}
    assert undecided
    assert judged.verdict is Verdict.INCONCLUSIVE
    (reason,) = {one.reason for one in judged.checks if one.check in undecided}
    assert reason.endswith("removed, replaced or refused: a file is gone, and another")


def test_what_was_found_stays_found() -> None:
    gone = MissingEvidence(kind="identity", reasons=("a file is gone",))
    wrong = (identity(1, python="3.9.1"), identity(2))
    judged = judge(CELL, observed(missing=(gone,), identities=wrong), RULES)
    assert judged.verdict is Verdict.FAIL
    assert {one.check for one in judged.findings} == {"environment"}
