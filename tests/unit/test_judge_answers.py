"""The checks that rest on what the application answered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.cells import CELL, cell_with
from tests.unit.factories import (
    LOG,
    RULES,
    SUBJECT,
    URLS,
    WORKER,
    failure,
    identity,
    line,
    observed,
    outcome,
)
from wsgiproof.judge.answers import MIN_ANSWERS, responses
from wsgiproof.judge.verdict import judge
from wsgiproof.records.cell import Cell, Loading, Mode, Mpm
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.observed import Echo, LogLine, Observed, Problem
from wsgiproof.subjects.pymongo.axes import Transport


def finding(seen: Observed, cell: Cell = CELL) -> Finding:
    (only,) = judge(cell, seen, RULES).findings
    return only


# responses


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": 404, "count": 1},
        {"kind": "invalid body", "status": 200, "error": "JSON is malformed", "body": "{"},
    ],
)
def test_any_failed_request_trips_responses(changes: dict[str, Any]) -> None:
    assert outcome(observed(failures=(failure(**changes),))) == {"responses": Verdict.FAIL}


def test_answers_of_other_requests_trip_responses() -> None:
    echo = Echo(
        what="X-Request-ID",
        where="body",
        url=URLS[0],
        alone=250,
        together=1250,
        others=100,
        own="a1",
        other="a2",
        text="Hello a2",
    )
    right = msgspec.structs.replace(echo, url=URLS[1], others=0)
    told = finding(observed(echoes=(echo, right)))
    assert told.check == "responses"
    assert told.seen == (
        "/interpreter1: in the body of 100 of 1,250 answers to requests made at the same time is "
        "the X-Request-ID of another request; in all 250 to requests made alone it is their own"
    )
    assert told.evidence == ("/interpreter1: the answer to a1 has a2: Hello a2",)
    assert outcome(observed(echoes=(right,))) == {}


def test_a_pass_of_an_own_application_says_whether_mixed_up_requests_would_show() -> None:
    own = cell_with(CELL, app="shop.py")
    echo = Echo(what="X-Request-ID", where="body", url=URLS[0], alone=9, together=1250, others=0)
    assert responses(own, observed(echoes=(echo,))).passed.endswith(
        "answered correctly; none repeats what belongs to another request"
    )
    assert responses(own, observed()).passed.endswith(
        "; one that belongs to another request would not show, since none repeats its own "
        "X-Request-ID"
    )
    assert responses(CELL, observed()).passed.endswith("answered correctly")


def test_failures_are_counted_by_kind_and_told_with_phase_and_body() -> None:
    failures = (
        failure(count=3),
        failure(count=2, url=URLS[1]),
        failure(kind="closed", status=None, count=1, phase="serial", error="no answer", body=""),
    )
    told = finding(observed(failures=failures))
    assert told.seen == (
        "6 of 3,280 requests failed: 5 x status 500, 1 x closed; "
        "4 of 1,604 to interpreter1, 2 of 1,602 to interpreter2"
    )
    assert told.evidence[0].startswith(
        f"[parallel] {URLS[0]}: 500 Internal Server Error (3 x) <html>"
    )
    assert told.evidence[2] == f"[serial] {URLS[0]}: no answer (1 x)"


def test_evidence_stays_short_and_says_how_much_is_left_out() -> None:
    failures = tuple(failure(error=f"error {number}") for number in range(20))
    told = finding(observed(failures=failures)).evidence
    assert len(told) == 13
    assert told[-1] == "... and 8 more like these"


def test_an_aborted_experiment_does_not_pass() -> None:
    assert outcome(observed(aborted="100 requests failed")) == {"responses": Verdict.INCONCLUSIVE}


def test_requests_from_elsewhere_are_no_pass() -> None:
    seen = observed(elsewhere=7)
    assert outcome(seen)["responses"] is Verdict.INCONCLUSIVE
    assert "at least 7 requests came from another program" in responses(CELL, seen).missing


def test_no_request_at_all_does_not_pass() -> None:
    assert outcome(observed(requests=0)) == dict.fromkeys(
        ("responses", "hang"), Verdict.INCONCLUSIVE
    )


def test_requests_that_never_came_to_an_end_are_a_matter_for_hang() -> None:
    hung = failure(kind="timeout", status=None, error="no answer within 10 seconds")
    assert outcome(observed(failures=(hung,))) == {
        "responses": Verdict.INCONCLUSIVE,
        "hang": Verdict.FAIL,
    }
    assert outcome(observed(failures=(hung, failure()))) == dict.fromkeys(
        ("responses", "hang"), Verdict.FAIL
    )


# identity


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"python": "3.12.2"}, "Python is 3.12.2, not 3.12.1"),
        ({"mod_wsgi": "5.0.1"}, "mod_wsgi is 5.0.1, not 5.0.2"),
        ({"subject": SUBJECT | {"version": "4.19.0"}}, "PyMongo is 4.19.0, not 4.20.0"),
        ({"subject": SUBJECT | {"bson_has_c": False}}, "bson.has_c() is False, not True"),
        ({"subject": SUBJECT | {"pymongo_has_c": False}}, "pymongo.has_c() is False, not True"),
        ({"mpm": "event"}, "the MPM is event, not prefork"),
        ({"process_group": ""}, "the mode is embedded, not daemon"),
        ({"gil_enabled": False}, "the GIL is False, not True"),
    ],
)
def test_each_claim_of_the_cell_is_held_against_what_is_told(
    changes: dict[str, Any], words: str
) -> None:
    one = identity(2, answers=7, token="other", **changes)
    seen = observed(identities=(identity(1), identity(2), one))
    assert outcome(seen) == {"environment": Verdict.FAIL}
    assert finding(seen).seen == f"{words} (7 answers of interpreter2)"


def two(first: object, second: object) -> Observed:
    """Both interpreters, with the extras that each reports to use."""
    both = [identity(n, subject=SUBJECT | {"extras": x}) for n, x in ((1, first), (2, second))]
    return observed(identities=tuple(both))


LOST = "PyMongo's extra snappy is missing, not usable (1,600 answers of interpreter2)"


@pytest.mark.parametrize(
    ("seen", "cell", "words"),
    [
        (two("ocsp,snappy", "ocsp"), cell_with(CELL, extras="ocsp,snappy"), LOST),
        # Asked for by the URI alone, or not at all: another interpreter has it.
        (two("snappy", ""), cell_with(CELL, uri_options="w=1&compressors=zlib,snappy"), LOST),
        (two("snappy", ""), CELL, LOST),
        (
            two("", ""),
            cell_with(CELL, extras="zstd"),
            "PyMongo's extra zstd is missing, not usable (3,200 answers)",
        ),
    ],
)
def test_an_extra_that_an_interpreter_does_without_is_a_finding(
    seen: Observed, cell: Cell, words: str
) -> None:
    assert outcome(seen, cell) == {"environment": Verdict.FAIL}
    (only,) = judge(cell, seen, RULES).findings
    assert only.seen == words
    assert "--interpreter main" in only.action


@pytest.mark.parametrize(
    ("seen", "cell"),
    [
        (two("snappy", "snappy"), cell_with(CELL, extras="snappy")),
        (two("", ""), CELL),
        (two("", ""), cell_with(CELL, uri_options="compressors=zlib")),
        (two("7,/etc", None), CELL),
    ],
)
def test_extras_that_all_interpreters_use_or_none_are_no_finding(
    seen: Observed, cell: Cell
) -> None:
    assert outcome(seen, cell) == {}


def test_an_extra_of_which_nothing_is_known_is_no_pass() -> None:
    cell = cell_with(CELL, extras="snappy")
    assert outcome(two(None, None), cell) == {"environment": Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("verifies", "verdict"),
    [
        (True, {}),
        (False, {"environment": Verdict.FAIL}),
        (None, {"environment": Verdict.INCONCLUSIVE}),
    ],
)
def test_with_tls_an_interpreter_that_accepts_any_certificate_is_a_finding(
    verifies: bool | None, verdict: dict[str, Verdict]
) -> None:
    second = identity(2, subject=SUBJECT | {"verifies_tls": verifies})
    seen = observed(identities=(identity(1, subject=SUBJECT | {"verifies_tls": True}), second))
    assert outcome(seen, cell_with(CELL, transport=Transport.TLS)) == verdict
    assert outcome(seen) == {}


def test_identity_judges_against_the_cell_and_not_against_a_default() -> None:
    cell = cell_with(CELL, mode=Mode.EMBEDDED, mpm=Mpm.EVENT)
    told = tuple(identity(url, process_group="", mpm="event") for url in (1, 2))
    assert outcome(observed(identities=told), cell) == {}
    assert outcome(observed(identities=told)) == {"environment": Verdict.FAIL}


def test_an_mpm_that_nobody_tells_is_not_a_pass() -> None:
    log = tuple(one for one in LOG if "configured" not in one.text)
    seen = observed(identities=(identity(1), identity(2, mpm=None)), log=log)
    assert outcome(seen) == {"environment": Verdict.INCONCLUSIVE}
    (reason,) = [
        one.reason for one in judge(CELL, seen, RULES).checks if one.check == "environment"
    ]
    assert "the MPM" in reason


def test_an_mpm_that_mod_wsgi_does_not_tell_is_in_the_log() -> None:
    """mod_wsgi before 4 has no such thing."""
    seen = observed(identities=(identity(1, mpm=None), identity(2, mpm=None)))
    assert outcome(seen) == {}
    assert outcome(seen, cell_with(CELL, mpm=Mpm.EVENT)) == {"environment": Verdict.FAIL}


def test_a_mod_wsgi_version_that_nobody_tells_is_missing_and_not_another_version() -> None:
    seen = observed(identities=(identity(1), identity(2, mod_wsgi=None)))
    assert outcome(seen) == {"environment": Verdict.INCONCLUSIVE}


def test_a_process_group_that_nobody_tells_is_not_embedded_mode() -> None:
    cell = cell_with(CELL, mode=Mode.EMBEDDED)
    seen = observed(identities=(identity(1, process_group=None), identity(2, process_group="")))
    assert outcome(seen, cell) == {"environment": Verdict.INCONCLUSIVE}


LOADED = {
    "4.9.4": "mod_wsgi (pid=200, process='subject', application='{}'): Loading Python script file "
    "'/tmp/app/script.wsgi'.",
    "6.1.1": "Loading WSGI script '/tmp/app/script.wsgi' into sub-interpreter '{}' of daemon "
    "process 'subject'.",
}
"""What two versions of mod_wsgi log."""
RESOURCE = "127.0.0.1:4711|/interpreter1"


def loaded(version: str, thread: int, group: str = "interpreter1", before: str = "") -> LogLine:
    text = before + LOADED[version].format(group)
    prefix = f"[2026-11-23 05:43:59.987537] [wsgi:info] [pid {WORKER}:tid {thread}] "
    return LogLine(phase="warm-up", text=prefix + text)


@pytest.mark.parametrize("version", LOADED)
def test_when_an_application_was_loaded_is_held_against_the_cell(version: str) -> None:
    lazy = cell_with(CELL, loading=Loading.LAZY)
    early = observed(log=(*LOG, loaded(version, WORKER)))
    late = observed(log=(*LOG, loaded(version, WORKER + 7, RESOURCE, before="[/interpreter1] ")))
    assert outcome(early) == outcome(late, lazy) == {}
    assert outcome(early, lazy) == outcome(late) == {"environment": Verdict.FAIL}
    assert finding(early, lazy).seen == "the loading is eager, not lazy (when it was loaded)"
    assert finding(late).seen == "the loading is lazy, not eager (when it was loaded)"


@pytest.mark.parametrize("version", LOADED)
def test_in_a_process_with_one_thread_the_group_tells_who_loaded_it(version: str) -> None:
    seen = observed(log=(*LOG, loaded(version, WORKER, RESOURCE)))
    assert outcome(seen) == {"environment": Verdict.FAIL}
    assert outcome(seen, cell_with(CELL, loading=Loading.LAZY)) == {}


@pytest.mark.parametrize("version", LOADED)
def test_with_virtual_hosts_the_url_of_a_request_tells_who_loaded_it(version: str) -> None:
    eager, lazy = (
        cell_with(CELL, virtual_hosts=True, loading=one) for one in (Loading.EAGER, Loading.LAZY)
    )
    group = "interpreter1.localhost:4711|/interpreter1"
    early = observed(log=(*LOG, loaded(version, WORKER, group)))
    late = observed(log=(*LOG, loaded(version, WORKER, group, before="[/interpreter1] ")))
    assert outcome(early, eager) == outcome(late, lazy) == {}
    assert outcome(early, lazy) == outcome(late, eager) == {"environment": Verdict.FAIL}


def test_one_process_of_many_that_loaded_it_late_is_found() -> None:
    late = loaded("6.1.1", WORKER + 7)
    other = LogLine(phase="trials", text=late.text.replace(f"pid {WORKER}", "pid 999"))
    seen = observed(log=(*LOG, loaded("6.1.1", WORKER), other))
    assert outcome(seen) == {"environment": Verdict.FAIL}
    # A request loads it again if that failed when the process started.
    assert outcome(observed(log=(*LOG, loaded("6.1.1", WORKER), late))) == {}


def test_a_lazy_loading_that_nobody_logs_is_not_a_pass() -> None:
    assert outcome(observed()) == {}
    lazy = cell_with(CELL, loading=Loading.LAZY)
    assert outcome(observed(), lazy) == {"environment": Verdict.INCONCLUSIVE}
    written = line(LOADED["6.1.1"].format("interpreter1"))  # by the application: wsgi:error
    assert outcome(observed(log=(*LOG, written)), lazy)["environment"] is Verdict.INCONCLUSIVE


def test_what_is_wrong_outweighs_what_is_unknown() -> None:
    seen = observed(
        identities=(identity(1), identity(2, mpm=None, subject=SUBJECT | {"version": "3.0"}))
    )
    assert outcome(seen) == {"environment": Verdict.FAIL}


def test_no_answer_leaves_all_three_checks_of_answers_undecided() -> None:
    expected = dict.fromkeys(["environment", "interpreters", "roundtrip"], Verdict.INCONCLUSIVE)
    assert outcome(observed(identities=())) == expected


# interpreters


def test_two_urls_with_one_token_in_one_process_share_an_interpreter() -> None:
    seen = observed(identities=(identity(1, token="same"), identity(2, token="same")))
    assert outcome(seen) == {"interpreters": Verdict.FAIL}
    told = finding(seen)
    assert told.evidence == (
        f"pid {WORKER}: interpreter same served {URLS[0]}, {URLS[1]}",
    )  # fmt: skip


def test_one_token_in_two_processes_is_not_a_shared_interpreter() -> None:
    """A token made before a fork would be in both; they are different interpreters all the same."""
    told = [
        identity(url, pid, token=f"made before the fork {url}") for pid in (1, 2) for url in (1, 2)
    ]
    assert outcome(observed(identities=tuple(told))) == {}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [(MIN_ANSWERS, {}), (MIN_ANSWERS - 1, {"interpreters": Verdict.INCONCLUSIVE})],
)
def test_an_interpreter_that_hardly_served_tells_nothing(
    answers: int, expected: dict[str, Verdict]
) -> None:
    told = (identity(1), identity(2, answers=answers))
    assert outcome(observed(identities=told)) == expected


def test_answers_of_one_url_add_up() -> None:
    """An interpreter that changed its story is in several identities."""
    half = MIN_ANSWERS // 2
    told = (
        identity(1),
        identity(2, answers=half),
        identity(2, answers=MIN_ANSWERS - half, prefix="/x"),
    )
    assert outcome(observed(identities=told)) == {}


def test_one_url_alone_is_not_several_interpreters() -> None:
    seen = observed(identities=(identity(1),))
    assert outcome(seen) == {"interpreters": Verdict.INCONCLUSIVE}


def test_urls_served_by_different_processes_are_not_several_interpreters_in_one() -> None:
    seen = observed(identities=(identity(1, 201), identity(2, 202)))
    assert outcome(seen) == {"interpreters": Verdict.INCONCLUSIVE}


def test_several_processes_are_counted() -> None:
    told = tuple(identity(url, pid) for pid in (201, 202, 203) for url in (1, 2))
    judgement = judge(CELL, observed(identities=told), RULES)
    reasons = {result.check: result.reason for result in judgement.checks}
    assert judgement.verdict is Verdict.PASS
    assert reasons["interpreters"] == "2 interpreters in each of 3 processes"


# roundtrip


def test_a_value_that_did_not_survive_trips_roundtrip() -> None:
    problems = tuple(
        Problem(phase=phase, text=text, count=count, pid=WORKER, application_group=group)
        for phase, text, count, group in [
            ("parallel", "int64: got int, put Int64", 40, "interpreter2"),
            ("serial", "uuid: lost", 2, "interpreter1"),
        ]
    )
    seen = observed(problems=problems)
    assert outcome(seen) == {"roundtrip": Verdict.FAIL}
    told = finding(seen)
    assert told.seen.startswith("42 values changed while they were encoded and decoded")
    assert told.seen.endswith("in interpreter1, interpreter2")
    assert told.evidence == (
        f"[parallel] pid {WORKER} interpreter2: int64: got int, put Int64 (40 x)",
        f"[serial] pid {WORKER} interpreter1: uuid: lost (2 x)",
    )
