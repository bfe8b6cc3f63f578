"""What a host makes of a cell that another machine has planned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.unit.test_httpd import apache
from tests.unit.test_resume import job as planned
from wsgiproof.config.model import Config
from wsgiproof.errors import PrerequisiteMissing, UsageError
from wsgiproof.process.account import server_account
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.sent import describe_file, is_here, keep_file, path_of
from wsgiproof.provision.toolchain import Apache, Source
from wsgiproof.records.cell import Mpm
from wsgiproof.report.progress import PlainProgress
from wsgiproof.run.cell import Job
from wsgiproof.run.executors import ordered_cell
from wsgiproof.run.executors.dask_cells import Cells
from wsgiproof.run.executors.host import survey
from wsgiproof.run.executors.ordered_cell import CellOrder, Place, find_place, sources_of
from wsgiproof.subjects.pymongo.backends import found_here
from wsgiproof.subjects.pymongo.mongod_binary import Mongod


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("WSGIPROOF_CACHE", str(tmp_path / "cache"))
    return Cache()


def with_files(directory: Path) -> Job:
    """A job with an application and a wheel, as the machine that planned has them."""
    app, wheel = directory / "shop.py", directory / "pymongo-4.0-py3-none-any.whl"
    app.write_text("application = None\n")
    wheel.write_bytes(b"a wheel")
    one = planned(0)
    source = Source(version="4.0", path=str(wheel), archive=str(wheel), digest="abc")
    spec = msgspec.structs.replace(one.spec, packages={"pymongo": source})
    cell = msgspec.structs.replace(one.cell, app=str(app))
    return msgspec.structs.replace(one, cell=cell, spec=spec)


def test_files_are_kept_once_for_their_content(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "a.whl").write_bytes(b"content")
    file = describe_file(str(tmp_path / "a.whl"))
    assert file.digest == hashlib.sha256(b"content").hexdigest()
    assert not is_here(file, cache)
    with pytest.raises(UsageError, match="not in the build cache of this machine any more"):
        path_of(file, cache)
    kept = keep_file(file, b"content", cache)
    assert is_here(file, cache)
    assert kept == path_of(file, cache) == keep_file(file, b"content", cache)
    assert (kept.name, kept.read_bytes()) == ("a.whl", b"content")
    for wrong, content in (
        (file, b"other"),
        (msgspec.structs.replace(file, name="../a.whl"), b"content"),
        (msgspec.structs.replace(file, name=""), b"content"),
    ):
        with pytest.raises(UsageError, match="is another file"):
            keep_file(wrong, content, cache)
    with pytest.raises(UsageError, match="can't be sent to the workers: No such file"):
        describe_file(str(tmp_path / "none.whl"))


def test_a_job_gets_the_files_and_the_python_of_the_host(tmp_path: Path, cache: Cache) -> None:
    job = with_files(tmp_path)
    assert sources_of(job) == [job.cell.app, job.spec.packages["pymongo"].archive]
    files = {path: describe_file(path) for path in sources_of(job)}
    for path, file in files.items():
        keep_file(file, Path(path).read_bytes(), cache)
        Path(path).unlink()  # the host has no such path
    python = msgspec.structs.replace(job.spec.python, path="/opt/python")
    apache = Apache(version="2.4.71", mpms=())
    place = Place(account=server_account(), apache=apache, python=python, backend="theirs")
    here = ordered_cell._localized(CellOrder(job=job, config=Config(), files=files), place, cache)
    assert Path(here.cell.app).read_text() == "application = None\n"
    assert here.cell.id == job.cell.id
    wheel = here.spec.packages["pymongo"]
    assert Path(wheel.archive).read_bytes() == b"a wheel"
    assert (wheel.path, wheel.digest) == (job.spec.packages["pymongo"].path, "abc")
    assert (here.spec.python.path, here.backend) == ("/opt/python", "theirs")
    assert here.spec.mod_wsgi == job.spec.mod_wsgi, "of the index: nothing is sent"


def test_a_host_says_what_it_is_and_what_it_lacks(tmp_path: Path, cache: Cache) -> None:
    python = msgspec.structs.replace(planned(0).spec.python, version="2.1.99")
    old = msgspec.structs.replace(planned(0).spec, python=python)
    home = msgspec.structs.replace(planned(0).spec, home=str(tmp_path / "none"))
    orders = [
        CellOrder(job=msgspec.structs.replace(planned(0), spec=spec), config=Config(), files={})
        for spec in (old, home)
    ]
    (tmp_path / "a.py").write_text("x")
    file = describe_file(str(tmp_path / "a.py"))
    said = survey(orders, [file])
    assert "there is no Python '2.1.99' on this machine" in said.reasons[0]
    assert "there is no directory" in said.reasons[1]
    assert said.missing == (file,)
    assert said.facts["name"]
    assert "wsgiproof" in said.facts
    keep_file(file, b"x", cache)
    assert survey([], [file]).missing == ()


def test_a_host_runs_cells_of_an_apache_that_it_has(tmp_path: Path, cache: Cache) -> None:
    def order(version: str) -> CellOrder:
        cell = msgspec.structs.replace(
            planned(0).cell, httpd=version, httpd_path=server, mpm=Mpm.EVENT
        )
        job = msgspec.structs.replace(planned(0), cell=cell)
        return CellOrder(job=job, config=Config(), files={})

    server = str(tmp_path / "none")
    with pytest.raises(UsageError, match=f"there is no file {server}"):
        find_place(order("2.4.62"), cache)
    server = apache(tmp_path)
    with pytest.raises(PrerequisiteMissing, match=f"{server} is Apache 2.4.62, not 2.4.57"):
        find_place(order("2.4.57"), cache)
    cells = Cells(Config(), tmp_path, PlainProgress(Console()))
    assert cells.needs(order("2.4.57").job) != cells.needs(order("2.4.62").job)


def test_the_mongod_of_a_host_has_to_be_of_the_same_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = Mongod(path=Path("/only/there/mongod"), version="6.0.5")
    ours = Mongod(path=Path("/usr/bin/mongod"), version="6.0.5")
    account = server_account()
    asked: list[str | None] = []

    def find(requested: str | None) -> Mongod:
        asked.append(requested)
        return ours

    monkeypatch.setattr("wsgiproof.subjects.pymongo.backends.find_mongod", find)
    assert found_here(None, account) is None
    assert found_here("mongodb://10.0.0.1/", account) == "mongodb://10.0.0.1/"
    assert found_here(theirs, account) == ours
    assert asked == [None]
    with pytest.raises(PrerequisiteMissing, match=r"its mongod is 6\.0\.5, .* with 7\.0\.1"):
        found_here(msgspec.structs.replace(theirs, version="7.0.1"), account)
