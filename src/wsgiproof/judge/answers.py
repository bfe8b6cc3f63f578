"""The checks that rest on what the application answered."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from wsgiproof.cell import Cell, InterpreterKind, Mode
from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.firstuse import first_use
from wsgiproof.judge.lifecycle import HUNG
from wsgiproof.judge.restart import REPLACING
from wsgiproof.records import Finding, Identity, Observed, PhaseName

MIN_ANSWERS = 10
"""Answers that an interpreter of a process must have given before anything is said about it."""

_ELSEWHERE = {PhaseName.FAILOVER, *REPLACING}
"""Phases in which some requests may fail; the check of the phase says which."""
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")


def responses(cell: Cell, observed: Observed) -> Outcome:
    """Every request that comes to an end is answered 200 with a valid body."""
    failures = [
        failure
        for failure in observed.failures
        if failure.kind != HUNG and failure.phase not in _ELSEWHERE
    ]
    failed = sum(failure.count for failure in failures)
    if failed:
        kinds: Counter[str] = Counter()
        for failure in failures:
            status = f" {failure.status}" if failure.kind == "status" else ""
            kinds[f"{failure.kind}{status}"] += failure.count
        told = ", ".join(f"{number:,} x {kind}" for kind, number in kinds.most_common())
        finding = Finding(
            check="responses",
            seen=f"{failed:,} of {count(observed.requests, 'request')} failed: {told}",
            meaning=(
                "the application, mod_wsgi or Apache did not answer these requests as it should; "
                "the cause is in the traceback or the crash in the error log"
            ),
            action="read the error log around the first failure, then rerun this cell",
            evidence=evidence(
                f"[{failure.phase}] {failure.url}: {failure.error} {failure.body[:200]}".strip()
                for failure in failures
            ),
        )
        return Outcome(findings=(finding,))
    if any(failure.kind == HUNG for failure in observed.failures):
        return Outcome(missing="some requests never came to an end: see hang")
    if observed.aborted:
        return Outcome(missing=f"the experiment ended early: {observed.aborted}")
    if observed.budget_exhausted:
        return Outcome(missing=observed.budget_exhausted)
    if not observed.requests:
        return Outcome(missing="no request was made")
    if observed.elsewhere:
        return Outcome(
            missing=(
                f"at least {count(observed.elsewhere, 'request')} came from elsewhere, so what was "
                "counted is not of this load alone: something else on this machine uses its port"
            )
        )
    others = sum(phase.requests for phase in observed.phases if phase.name in _ELSEWHERE)
    requests = count(observed.requests - others, "request")
    return Outcome(passed=f"{requests} answered, each as it should be")


def environment(cell: Cell, observed: Observed) -> Outcome:
    """What serves is what the cell declares, by its own account from inside."""
    known = (*observed.identities, *observed.loaded)
    wrong: Counter[str] = Counter()
    unknown = set()
    for one in known:
        for what, expected, actual in _claims(cell, one):
            if actual is None:
                unknown.add(what)
            elif actual != expected:
                wrong[f"{what} is {actual}, not {expected}"] += one.answers
    if wrong:
        finding = Finding(
            check="environment",
            seen="; ".join(
                f"{text} ({count(number, 'answer') if number else 'as it was loaded'})"
                for text, number in wrong.items()
            ),
            meaning="something other than what the cell declares was tested",
            action=(
                "where a C extension is missing, PyMongo has fallen back to pure Python: see why "
                "its import failed; where a version differs, see which path it came from"
            ),
            evidence=evidence(
                f"{one.url or one.application_group} pid {one.pid}: Python {one.python}, "
                f"mod_wsgi {one.mod_wsgi}, PyMongo {one.pymongo} from {one.pymongo_path}, "
                f"MPM {one.mpm}, process group '{one.process_group}', GIL {one.gil}, "
                f"bson.has_c() {one.bson_has_c}"
                for one in known
            ),
        )
        return Outcome(findings=(finding,))
    if not observed.identities:
        return Outcome(missing="no interpreter answered, so nobody knows what was tested")
    if unknown:
        return Outcome(missing=f"not told from inside: {', '.join(sorted(unknown))}")
    return Outcome(passed="every interpreter is what the cell declares")


def _claims(cell: Cell, one: Identity) -> Iterator[tuple[str, object, object]]:
    yield "Python", cell.python, one.python
    yield "mod_wsgi", cell.mod_wsgi, one.mod_wsgi
    yield "PyMongo", cell.pymongo, one.pymongo
    yield "bson.has_c()", True, one.bson_has_c
    yield "pymongo.has_c()", True, one.pymongo_has_c
    yield "the MPM", str(cell.mpm), one.mpm
    yield "the mode", cell.mode, _mode(one)
    yield "the interpreter", str(cell.interpreter), _kind(one)
    yield "the GIL", cell.interpreter is not InterpreterKind.FREE_THREADED, one.gil_enabled


def _kind(one: Identity) -> str | None:
    """The kind of interpreter that this one is, by its own account."""
    gil = one.gil or _only_gil(one)
    if one.application_group is None or gil is None:
        return None
    if not one.application_group:
        inside = one.interpreter_id
        return f"sub interpreter {inside}" if inside else str(InterpreterKind.MAIN)
    kinds = {
        "own": InterpreterKind.OWN_GIL,
        "shared": InterpreterKind.SHARED_GIL,
        "none": InterpreterKind.FREE_THREADED,
    }
    return kinds[gil]


def _only_gil(one: Identity) -> str | None:
    """What an interpreter that does not tell has, where its version leaves no choice."""
    version = _VERSION.match(one.python)  # which is what the server says
    older = version is not None and (int(version[1]), int(version[2])) < (3, 12)
    return "shared" if older else None


def _mode(one: Identity) -> Mode | None:
    if one.process_group is None:
        return None
    return Mode.DAEMON if one.process_group else Mode.EMBEDDED


def interpreters(cell: Cell, observed: Observed) -> Outcome:
    """Each URL is served by an interpreter of its own, several of them in one process."""
    if not observed.identities:
        return Outcome(missing="no interpreter answered")
    shared = _shared_interpreters(observed)
    if shared:
        finding = Finding(
            check="interpreters",
            seen=(
                f"{count(len(shared), 'process', 'processes')} served several URLs from one "
                f"interpreter, where each of the {cell.sub_interpreters} URLs has its own"
            ),
            meaning="what differs between sub interpreters was not tested at all",
            action="look at the WSGIScriptAlias lines of httpd.conf: the application groups",
            evidence=evidence(shared),
        )
        return Outcome(findings=(finding,))
    by_process = _answers_by_process(observed)
    complete = {
        pid: served
        for pid, served in by_process.items()
        if len(served) == len(observed.urls) and min(served.values()) >= MIN_ANSWERS
    }
    if not complete:
        told = "; ".join(
            f"pid {pid}: {', '.join(f'{number} from {url}' for url, number in served.items())}"
            for pid, served in by_process.items()
        )
        return Outcome(missing=f"no process served all URLs {MIN_ANSWERS} times or more ({told})")
    processes = count(len(complete), "process", "processes")
    number = count(cell.sub_interpreters, "interpreter")
    return Outcome(passed=f"{number} in each of {processes}")


def _shared_interpreters(observed: Observed) -> list[str]:
    urls: dict[tuple[int, str], set[str]] = defaultdict(set)
    for one in observed.identities:
        urls[one.pid, one.token].add(one.url)
    return [
        f"pid {pid}: interpreter {token} served {', '.join(sorted(served))}"
        for (pid, token), served in urls.items()
        if len(served) > 1
    ]


def _answers_by_process(observed: Observed) -> dict[int, Counter[str]]:
    by_process: dict[int, Counter[str]] = defaultdict(Counter)
    for one in observed.identities:
        by_process[one.pid][one.url] += one.answers
    return dict(by_process)


def roundtrip(cell: Cell, observed: Observed) -> Outcome:
    """Every BSON value comes back with its own value and its own type."""
    if cell.app:
        return Outcome(skipped="an application of one's own makes no round trips")
    answers = sum(one.answers for one in observed.identities)
    if observed.problems:
        number = sum(problem.count for problem in observed.problems)
        order, course = first_use(observed)
        groups = sorted({problem.application_group for problem in observed.problems})
        finding = Finding(
            check="roundtrip",
            seen=(
                f"{count(number, 'value')} did not survive encoding and decoding or the trip "
                f"through the server, in {', '.join(groups)}{f'; {order}' if order else ''}"
            ),
            meaning=(
                "PyMongo gave back another value or another type than was put in; a type of the "
                "same name comes from another interpreter's modules"
            ),
            action="rerun this cell with one sub interpreter to see whether a second one is needed",
            evidence=course
            + evidence(
                f"[{problem.phase}] pid {problem.pid} {problem.application_group}: "
                f"{problem.text} ({problem.count} x)"
                for problem in observed.problems
            ),
        )
        return Outcome(findings=(finding,))
    if not answers:
        return Outcome(missing="no answer tells of a round trip")
    return Outcome(passed=f"every BSON type survived in {count(answers, 'answer')}")
