"""Applications of one's own in real Apache: what works passes, and what fails says how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.conftest import MENDED, Bench
from tests.real.test_cells import why
from tests.real.test_wrong_input import one_line, outcome
from wsgiproof.records.cell import Mode
from wsgiproof.records.judgement import Verdict
from wsgiproof.subjects.pymongo.axes import Topology

APPS = Path(__file__).parent / "apps"


def test_an_app_that_works_passes_in_embedded_mode(bench: Bench) -> None:
    """In daemon mode: test_report.py."""
    record = bench.run(app=APPS / "guest_book.py", mode=Mode.EMBEDDED)
    assert record.verdict is Verdict.PASS, why(record)
    checks = {check.check: check.verdict for check in record.checks}
    assert checks.pop("roundtrip") is checks.pop("closed-client") is Verdict.SKIPPED
    assert set(checks.values()) == {Verdict.PASS}
    assert record.observed is not None
    taken = [point.connections for point in record.observed.samples]
    assert all(taken), "it has not used its deployment"


def test_a_relative_path_is_refused_as_by_a_plain_server(bench: Bench) -> None:
    record = bench.run(app=APPS / "relative_log.py", topology=Topology.NONE, requests=30)
    assert record.verdict is Verdict.FAIL, why(record)
    assert "responses" in {finding.check for finding in record.findings}, why(record)
    assert "Permission denied: '/shop.log'" in why(record)


def test_an_app_that_makes_pymongo_raise_in_c_passes(bench: Bench) -> None:
    record = bench.run(app=APPS / "invalid_document.py", pymongo=MENDED)
    assert record.verdict is Verdict.PASS, why(record)


@pytest.mark.parametrize(("limit", "accepted"), [(900, False), (1100, True)])
def test_a_log_that_grows_fails_if_that_is_more_than_is_accepted(
    bench: Bench, limit: float, accepted: bool
) -> None:
    record = bench.run(
        app=APPS / "log_grows.py", topology=Topology.NONE, requests=400, max_file_growth=limit
    )
    (files,) = (one for one in record.checks if one.check == "files")
    assert files.verdict is (Verdict.PASS if accepted else Verdict.FAIL), why(record)
    assert "files grew by 1,0" in files.reason


EVERY_KIND_OF_ANSWER = """
import io, itertools
number = itertools.count()
def application(environ, start_response):
    kind = next(number) % 4
    if kind == 0:
        cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        start_response("302 Found", [("Location", "/x")] + cookies)
        return [b"welcome"]
    if kind == 1:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3000007")])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"welcome" + b"x" * 3000000))
    if kind == 2:
        start_response("206 Partial Content", [])(b"wel")
        return (part for part in (b"", b"come", b""))
    start_response("200 OK", [("X-Wsgiproof", "mine")])
    return [b"welcome"]
"""


def test_every_kind_of_answer_that_the_user_expects_passes(bench: Bench, tmp_path: Path) -> None:
    app = tmp_path / "kinds.py"
    app.write_text(EVERY_KIND_OF_ANSWER)
    record = bench.run(
        app=app, topology=Topology.NONE, requests=120, expect_status=(302,), expect_body="^welcome"
    )
    assert record.observed is not None
    assert record.observed.failures == (), why(record)
    (responses,) = [one for one in record.checks if one.check == "responses"]
    assert responses.verdict is Verdict.PASS
    # Two bodies, each in a part of the answers that is too large to be an exception.
    assert [one.total > one.same > one.total / 2 for one in record.observed.answers] == [True] * 2
    assert "differ" not in responses.reason


REQUEST_ID = """
import threading, time
shared, local = threading.Event(), threading.local()
def application(environ, start_response):
    kept = %s
    kept.request_id = environ["HTTP_X_REQUEST_ID"]
    time.sleep(0.002)
    start_response("200 OK", [("X-Request-ID", kept.request_id)])
    return [b"welcome"]
"""


@pytest.mark.parametrize(
    ("kept", "verdict"), [("shared", Verdict.FAIL), ("local", Verdict.PASS)], ids=["shared", "own"]
)
def test_an_app_that_mixes_up_requests_fails(
    bench: Bench, tmp_path: Path, kept: str, verdict: Verdict
) -> None:
    app = tmp_path / "request_id.py"
    app.write_text(REQUEST_ID % kept)
    record = bench.run(app=app, topology=Topology.NONE, requests=240)
    (responses,) = (one for one in record.checks if one.check == "responses")
    assert responses.verdict is verdict, why(record)
    assert record.observed is not None
    echoes = record.observed.echoes
    assert {(one.what, one.where) for one in echoes} == {("X-Request-ID", "headers")}
    assert [one.others > 0 for one in echoes] == [verdict is Verdict.FAIL] * 2
    assert all(one.alone >= 20 and one.together >= 20 for one in echoes)


def test_an_app_that_fails_sometimes_fails_with_what_it_said_and_its_traceback(
    bench: Bench, tmp_path: Path
) -> None:
    app = tmp_path / "sometimes.py"
    app.write_text(
        "import itertools\n"
        "number = itertools.count(1)\n"
        "def application(environ, start_response):\n"
        "    this = next(number)\n"
        "    if this % 20 == 0:\n"
        "        raise LookupError('every twentieth')\n"
        "    if this % 20 == 10:\n"
        "        start_response('503 Sorry', [('Content-Type', 'text/plain')])\n"
        "        return [b'the context is closed']\n"
        "    start_response('200 OK', [])\n"
        "    return [b'']\n"
    )
    record = bench.run(app=app, topology=Topology.NONE)
    found = {finding.check: finding for finding in record.findings}
    assert "x status 500" in found["responses"].seen, why(record)
    assert "the context is closed" in str(found["responses"].evidence), why(record)
    assert "LookupError" in found["error-log"].seen + str(found["error-log"].evidence)
    log = bench.file(record, "error.log").read_text()
    assert 'own/sometimes.py", line 6, in application' in log


def test_an_app_that_fails_at_import_fails_and_the_log_tells(bench: Bench, tmp_path: Path) -> None:
    app = tmp_path / "broken.py"
    app.write_text("import no_such_module\napplication = no_such_module.application\n")
    record = bench.run(app=app, topology=Topology.NONE)
    assert record.observed is not None
    assert record.observed.aborted, "it went on although nothing could be served"
    assert "responses" in {finding.check for finding in record.findings}, why(record)
    log = bench.file(record, "error.log").read_text()
    assert 'own/broken.py", line 1, in <module>' in log
    assert "No module named 'no_such_module'" in log


def test_an_app_that_is_not_there_is_said_before_anything_is_started(open_tmp: Path) -> None:
    code, text = outcome(open_tmp, "--app", str(open_tmp / "none.py"))
    assert code == 2
    assert "none.py: there is no such file" in one_line(text)
    assert not (open_tmp / "out").exists()
