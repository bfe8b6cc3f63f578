"""A run's directory that somebody else has prepared: what may lie in it, and what it may be."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.unit.factories import record, run_record
from tests.unit.test_merge import DAEMON, EMBEDDED, IDS, called, content, refused, saved
from tests.unit.test_resume import ended, job
from wsgiproof.analysis.merge import merge
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import UNKNOWN, load_run, read_cells, reopen_output
from wsgiproof.records.writing import Results, held, keep, make_output, save
from wsgiproof.report.files import write_whole
from wsgiproof.run.session import split

# What lies where a file should


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link(path: Path) -> None:
    secret = path.parent.parent.parent.parent / "secret"
    secret.write_text('{"format": 2}')
    path.symlink_to(secret)


def directory(path: Path) -> None:
    path.mkdir()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(30 << 30)


def unix_socket(path: Path) -> None:
    where = os.open(path.parent, os.O_RDONLY)  # its own path may be too long to bind to
    try:
        with closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(f"/proc/self/fd/{where}/{path.name}")
    finally:
        os.close(where)


def nested(path: Path) -> None:
    path.write_bytes(b'{"format": 2, "x": ' + b"[" * 200_000)


PLANTED = [fifo, device, link, directory, sparse, unix_socket, nested]
Plant = Callable[[Path], None]


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("name", ["cell.json", "results.json"])
def test_what_is_no_record_is_refused_in_one_line(plant: Plant, name: str, tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(DAEMON))
    other = saved(tmp_path / "other", run_record(DAEMON))
    path = run / name if name == "results.json" else run / DAEMON.directory / name
    path.unlink()
    plant(path)
    if name == "results.json" and plant is nested:
        assert [cell.cell.id for cell in load_run(run).cells] == [DAEMON.cell.id]  # it is rebuilt
        return
    for words in (
        ("show", run), ("report", run), ("compare", other, run), ("compare", run, other),
        ("report", "--trends", other, run), ("merge", run, other, "--output", tmp_path / "whole"),
    ):  # fmt: skip
        assert str(path) in refused(*words)
    if name == "cell.json":
        assert str(path) in refused("show", "--rejudge", run)
        if plant is not directory:
            assert "cell.json" in refused("show", "--rejudge", path) or plant is link
    assert not (tmp_path / "whole").exists()


@pytest.mark.parametrize("plant", PLANTED)
def test_a_resumed_run_runs_what_is_no_record_again(plant: Plant, tmp_path: Path) -> None:
    one = job(0)
    output = make_output(tmp_path / "out")
    keep(ended(one, Verdict.PASS), output)
    path = output / "cells" / one.cell.id / "cell.json"
    path.unlink()
    plant(path)
    done, left = split([one], output)
    assert (done, left) == ([], [one])
    assert not path.parent.exists()


@pytest.mark.parametrize("name", ["cells", "tries", "backends"])
def test_a_resumed_run_moves_and_removes_nothing_behind_a_link(name: str, tmp_path: Path) -> None:
    output = saved(tmp_path / "out", run_record(DAEMON))
    victim = tmp_path / "victim"
    (output / "cells").rename(victim) if name == "cells" else victim.mkdir()
    (output / name).symlink_to(victim)
    with pytest.raises(UsageError, match=f"{name} is not a directory"):
        reopen_output(output)


def test_the_directory_of_a_cell_that_is_a_link_is_removed_and_not_what_it_names(
    tmp_path: Path,
) -> None:
    one = job(0)
    output = make_output(tmp_path / "out")
    keep(ended(one, Verdict.PASS), output)
    place = output / "cells" / one.cell.id
    place.rename(tmp_path / "victim")
    place.symlink_to(tmp_path / "victim")
    done, left = split([one], output)
    assert (done, left) == ([], [one])
    assert not os.path.lexists(place)
    assert (tmp_path / "victim" / "cell.json").is_file()


@pytest.mark.parametrize(
    "place", ["../victim", "/etc", "cells/../victim", "cells/a\0b", "cells", "", "cells/",
              "cells/.", "cells//a", "tries/a", "cells/" + "x" * 300],
)  # fmt: skip
def test_a_run_names_no_place_outside_of_its_cells(place: str, tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(DAEMON))
    saved(tmp_path / "victim", run_record(DAEMON))
    head = msgspec.json.decode((run / "results.json").read_bytes())
    head["cells"][0]["directory"] = place
    (run / "results.json").write_bytes(msgspec.json.encode(head))
    for words in (("show", run), ("merge", run, "--output", tmp_path / "whole")):
        assert refused(*words).isprintable()


def test_a_link_to_a_cell_is_not_followed(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(DAEMON))
    (run / DAEMON.directory).rename(tmp_path / "elsewhere")
    (run / DAEMON.directory).symlink_to(tmp_path / "elsewhere")
    assert "can't be read" in refused("show", run)
    assert "holds no recorded cell" in refused("show", "--rejudge", run)


def test_a_run_that_the_user_names_by_a_link_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "run", run_record(DAEMON))
    (tmp_path / "latest").symlink_to("run")
    assert called("show", tmp_path / "latest").exit_code == 0
    (tmp_path / "one.json").symlink_to(tmp_path / "run" / DAEMON.directory / "cell.json")
    assert [one.cell.id for one in read_cells(tmp_path / "one.json")] == [DAEMON.cell.id]


def test_a_huge_file_beside_a_record_is_not_copied(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(DAEMON))
    sparse(run / DAEMON.directory / "core")
    with pytest.raises(CannotRun, match="larger than"):
        merge([run], tmp_path / "whole")


def test_what_is_no_file_beside_a_record_is_left_out(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(DAEMON))
    os.mkfifo(run / DAEMON.directory / "fifo")
    (run / DAEMON.directory / "inner").mkdir()
    (run / DAEMON.directory / "inner" / "file").write_text("x")
    merge([run], tmp_path / "whole")
    names = sorted(one.name for one in (tmp_path / "whole" / DAEMON.directory).iterdir())
    assert names == ["cell.json", "error.log", "inner"]
    assert (tmp_path / "whole" / DAEMON.directory / "inner" / "file").read_text() == "x"


# results.json that is lost


@pytest.mark.parametrize("left", [None, b"", b'{"format": 2, "wsgi', b"\0" * 4096, b"[]"])
def test_a_lost_results_json_is_rebuilt_from_the_cells(left: bytes | None, tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(DAEMON, EMBEDDED))
    (run / "results.json").unlink()
    if left is not None:
        (run / "results.json").write_bytes(left)
    before = content(run)
    shown = called("show", run)
    assert shown.exit_code == 3, "what else was planned is not known"
    (note,) = [line for line in shown.stderr.splitlines() if line.startswith("wsgiproof: ")]
    assert note.endswith("; the run is rebuilt from 2 of cells/*/cell.json")
    rebuilt = load_run(run)
    assert {one.cell.id for one in rebuilt.cells} == set(IDS)
    assert (rebuilt.complete, rebuilt.missing) == (False, (UNKNOWN,))
    assert called("report", run, "-o", tmp_path / "page.html").exit_code == 0
    assert called("report", "--trends", run).exit_code == 0
    assert "rebuilt" in " ".join(merge([run], tmp_path / "whole").notes)
    assert content(run) == before, "what only reads writes nothing"


def test_a_run_is_resumed_without_its_results_json(tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    keep(ended(job(0), Verdict.PASS), output)
    notes: list[str] = []
    assert reopen_output(output, notes.append) == output
    assert len(notes) == 1
    assert "the cells that have ended are read from cells/*/cell.json" in notes[0]
    done, left = split([job(0), job(1)], output)
    assert ([one.cell for one in done], left) == ([job(0).cell], [job(1)])


def test_a_cell_that_is_damaged_as_well_is_left_out_of_it(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(DAEMON, EMBEDDED))
    (run / "results.json").unlink()
    (run / EMBEDDED.directory / "cell.json").write_bytes(b"")
    assert [one.cell.id for one in load_run(run).cells] == [DAEMON.cell.id]
    (run / DAEMON.directory / "cell.json").write_bytes(b"")
    assert "it has no results.json" in refused("show", run)


# The output directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_output_is_ours_alone_whatever_the_umask_is(mask: int, tmp_path: Path) -> None:
    existing = tmp_path / "existing"
    existing.mkdir()
    existing.chmod(0o755)
    with umask(mask):
        output = make_output(tmp_path / "new" / "er" / "out")
        make_output(existing)
        save(run_record().to_json(), existing / "results.json")
    assert mode(output) == mode(existing) == 0o700
    assert mode(existing / "results.json") == 0o600
    assert mode(tmp_path / "new") & 0o022 == mode(tmp_path / "new" / "er") & 0o022 == 0


def test_an_output_that_is_not_empty_and_open_to_others_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "notes").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty, and open to other users .mode 0755."):
        make_output(shared)
    assert mode(shared) == 0o755
    shared.chmod(0o700)
    assert make_output(shared) == shared


def test_the_output_of_another_user_is_refused(tmp_path: Path) -> None:
    """As root a directory of nobody's; as anybody else root's own."""
    theirs = Path("/")
    if os.geteuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, 65534, 65534)
    with pytest.raises(UsageError, match=r"belongs to another user .uid \d+.: name another"):
        make_output(theirs)


def test_a_run_that_was_open_to_others_is_made_private_as_it_is_resumed(tmp_path: Path) -> None:
    output = saved(tmp_path / "out", run_record(DAEMON))
    output.chmod(0o755)
    reopen_output(output)
    assert mode(output) == 0o700


@pytest.mark.parametrize("plant", [fifo, device, link, directory])
def test_a_lock_that_is_none_is_refused_and_not_waited_for(plant: Plant, tmp_path: Path) -> None:
    output = make_output(tmp_path / "a" / "b" / "out")
    plant(output / ".lock")
    with pytest.raises(CannotRun, match=r"\.lock"), held(output):
        pass


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    program = (
        "import sys\nfrom pathlib import Path\nfrom wsgiproof.records.writing import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, output], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another wsgiproof is using"), held(output):
            pass
        other.communicate()
    with held(output):
        pass


# Files that are written


def test_a_report_is_not_written_through_a_planted_draft(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "junit.xml.part").symlink_to(victim)
    write_whole(b"new", tmp_path / "junit.xml", print)
    assert victim.read_text() == "precious"
    assert (tmp_path / "junit.xml").read_bytes() == b"new"


def test_a_link_in_place_of_a_report_is_followed_only_if_it_is_our_own(tmp_path: Path) -> None:
    ours, victim = tmp_path / "ours", tmp_path / "victim"
    ours.write_text("old")
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(ours)
    write_whole(b"new", tmp_path / "link", print)
    assert ours.read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()
    if os.geteuid() == 0:  # nobody else can make a link of another user's
        (tmp_path / "planted").symlink_to(victim)
        os.chown(tmp_path / "planted", 65534, 65534, follow_symlinks=False)
        write_whole(b"new", tmp_path / "planted", print)
        assert victim.read_text() == "precious"
        assert not (tmp_path / "planted").is_symlink()


def test_a_report_has_the_mode_of_the_one_before_or_what_the_umask_says(tmp_path: Path) -> None:
    with umask(0o027):
        write_whole(b"new", tmp_path / "a", print)
        (tmp_path / "b").touch(0o600)
        write_whole(b"new", tmp_path / "b", print)
    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (0o640, 0o600)


def test_a_record_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order: the content of cell.json, its name, the name of its directory; and only then
    results.json, which counts it."""
    seen: list[str] = []
    sync, rename = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        seen.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def replace(old: str, new: str, **options: int) -> None:
        seen.append(f"rename {Path(new).name}")
        rename(old, new, **options)

    output = make_output(tmp_path / "out")
    results = Results(run_record(), output)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    one = record()
    keep(one, output)
    results.add(one)
    told = [word if not word.endswith(".part") else "sync draft" for word in seen]
    assert told == [
        "sync draft", "rename cell.json", f"sync {one.cell.id}", "sync cells",
        "sync draft", "rename results.json", "sync out",
    ]  # fmt: skip
