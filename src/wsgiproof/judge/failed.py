"""The finding about failed requests: which interpreters they went to, and what was raised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from wsgiproof.judge.explain.lines import parse
from wsgiproof.judge.finding import count, evidence
from wsgiproof.judge.first_use import failed_by_interpreter, path
from wsgiproof.judge.tracebacks import Traceback, different, of_request, tracebacks
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Failure, Observed
from wsgiproof.records.traffic import Outcome

_APACHES_PAGES = (
    '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">',
    '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">',
)
"""How the error pages of Apache begin. They say nothing that the status does not."""
_MOST_OF_BODY = 200


def failed_requests(observed: Observed, failures: Sequence[Failure]) -> Finding:
    """Return the finding about these failed requests, at least one."""
    failed = sum(failure.count for failure in failures)
    whose = failed_by_interpreter(observed, failures)
    raised = _raised(observed, failures)
    kinds = different(one for found in raised for one in found)
    return Finding(
        check="responses",
        seen=f"{failed:,} of {count(observed.requests, 'request')} failed: {_by_kind(failures)}"
        + (f"; {whose}" if whose else "")
        + _first_kinds(kinds),
        meaning=(
            "the application raised an exception, so these requests were not answered correctly"
            if kinds
            else "the application, mod_wsgi or Apache did not answer these requests correctly; "
            "the error log shows the cause, as a traceback or a crash"
        ),
        action=(
            "read the traceback: its last frames are where the exception was raised"
            if kinds
            else "read the error log around the first failure, then rerun this cell"
        ),
        evidence=evidence(
            [
                *map(_line, failures, raised),
                *(alike[0].text for alike in kinds),
            ]
        ),
    )


def _by_kind(failures: Sequence[Failure]) -> str:
    kinds: Counter[str] = Counter()
    for failure in failures:
        status = f" {failure.status}" if failure.kind == Outcome.STATUS else ""
        kinds[f"{failure.kind}{status}"] += failure.count
    return ", ".join(f"{number:,} x {kind}" for kind, number in kinds.most_common())


def _raised(observed: Observed, failures: Sequence[Failure]) -> list[list[Traceback]]:
    """Return the exceptions in the error log that belong to each kind of failed requests.

    If the log names no URLs, only requests that were answered with an error status may have any.
    """
    found = tracebacks(parse(observed.log))
    named = any(one.url for one in found)
    return [
        of_request(found, one.phase, path(one.url)) if named or one.kind == Outcome.STATUS else []
        for one in failures
    ]


def _first_kinds(kinds: Sequence[Sequence[Traceback]]) -> str:
    if not kinds:
        return ""
    more = f", and {count(len(kinds) - 1, 'other exception')}" if len(kinds) > 1 else ""
    return f"; raised: {kinds[0][0].summary}{more}"


def _line(failure: Failure, raised: Sequence[Traceback]) -> str:
    """Return a line on failed requests of one kind: what was answered, and what was raised.

    An application may answer by itself, and log an exception or none.
    """
    body = "" if _is_of_apache(failure.body) else failure.body[:_MOST_OF_BODY]
    exception = different(raised)[0][0].exception[:_MOST_OF_BODY] if raised else ""
    if body and exception:
        exception = f"; the error log has {exception}"
    line = f"[{failure.phase}] {failure.url}: {failure.error} ({failure.count:,} x) "
    return f"{line}{body}{exception}".strip()


def _is_of_apache(body: str) -> bool:
    return body.lstrip().startswith(_APACHES_PAGES)
