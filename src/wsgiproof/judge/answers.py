"""The checks that read the application's answers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from wsgiproof.judge.failed import failed_requests
from wsgiproof.judge.finding import Outcome, count, evidence
from wsgiproof.judge.first_use import first_use
from wsgiproof.judge.lifecycle import HUNG
from wsgiproof.judge.restart import REPLACING
from wsgiproof.records.cell import Cell, InterpreterKind, Mode
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Identity, Observed
from wsgiproof.records.plan import PhaseName

MIN_ANSWERS = 10
"""Answers that one interpreter of one process must give before a check relies on them."""

_ENOUGH_TO_DIFFER = 100
"""Answers to one URL that are needed to say which of them is the usual one."""
_FEW = 0.02
"""The share of answers that are unusual, at most."""

_JUDGED_BY_PHASE = {PhaseName.FAILOVER, *REPLACING}
"""Phases in which some requests may fail. Each of them has its own check, which says which."""
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")


def responses(cell: Cell, observed: Observed) -> Outcome:
    """Every request that ends is answered in full, with a status and a body that are right.

    A status is right if it is a success (2xx) or was expected by the user.
    """
    failures = [
        failure
        for failure in observed.failures
        if failure.kind != HUNG and failure.phase not in _JUDGED_BY_PHASE
    ]
    if failures:
        return Outcome(findings=(failed_requests(observed, failures),))
    if any(failure.kind == HUNG for failure in observed.failures):
        return Outcome(missing="some requests had no answer in time: see the check hang")
    if observed.aborted:
        return Outcome(missing=f"the experiment ended early: {observed.aborted}")
    if observed.budget_exhausted:
        return Outcome(missing=observed.budget_exhausted)
    if not observed.requests:
        return Outcome(missing="no request was made")
    if observed.elsewhere:
        return Outcome(
            missing=(
                f"at least {count(observed.elsewhere, 'request')} came from another program on "
                "this machine that uses the server's port, so the counts are not those of this "
                "load alone"
            )
        )
    others = sum(phase.requests for phase in observed.phases if phase.name in _JUDGED_BY_PHASE)
    requests = count(observed.requests - others, "request")
    return Outcome(passed=f"{requests} answered correctly{_differing(observed)}")


def _differing(observed: Observed) -> str:
    """Return a note on URLs of which a few answers differ from all others; empty if there are none.

    That is no finding: it may be meant so. Where no answer is the usual one, all may differ.
    """
    unusual = [
        one
        for one in observed.answers
        if one.total >= _ENOUGH_TO_DIFFER and 0 < one.total - one.same <= _FEW * one.total
    ]
    if not unusual:
        return ""
    number = sum(one.total - one.same for one in unusual)
    total = sum(one.total for one in unusual)
    return (
        f"; {number:,} of {count(total, 'answer')} differ from all others to the same URL: use "
        "--expect-body if that must not be"
    )


def environment(cell: Cell, observed: Observed) -> Outcome:
    """The interpreters that serve are what the cell declares, as each of them reports itself."""
    known = (*observed.identities, *observed.loaded)
    wrong: Counter[str] = Counter()
    unknown = set()
    for one in known:
        for what, expected, actual in _comparisons(cell, one):
            if actual is None:
                unknown.add(what)
            elif actual != expected:
                wrong[f"{what} is {actual}, not {expected}"] += one.answers
    if wrong:
        finding = Finding(
            check="environment",
            seen="; ".join(
                f"{text} ({count(number, 'answer') if number else 'when it was loaded'})"
                for text, number in wrong.items()
            ),
            meaning="the cell tested something other than what it declares",
            action=(
                "if a C extension is missing, PyMongo has fallen back to pure Python: find out why "
                "its import failed; if a version differs, look at the path that it came from"
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
        return Outcome(missing="no interpreter answered, so what was tested is unknown")
    if unknown:
        return Outcome(missing=f"no interpreter reported {', '.join(sorted(unknown))}")
    return Outcome(passed="every interpreter is what the cell declares")


def _comparisons(cell: Cell, one: Identity) -> Iterator[tuple[str, object, object]]:
    """Yield what is compared, the value that the cell declares, and the value reported."""
    yield "Python", cell.python, one.python
    yield "mod_wsgi", cell.mod_wsgi, one.mod_wsgi
    yield "PyMongo", cell.pymongo, one.pymongo
    yield "bson.has_c()", True, one.bson_has_c
    yield "pymongo.has_c()", True, one.pymongo_has_c
    yield "the MPM", str(cell.mpm), one.mpm
    yield "the mode", cell.mode, _mode(one)
    yield "the interpreter", str(cell.interpreter), _interpreter_kind(one)
    yield "the GIL", cell.interpreter is not InterpreterKind.FREE_THREADED, one.gil_enabled


def _interpreter_kind(one: Identity) -> str | None:
    """Return the kind of interpreter that this one reports to be."""
    gil = one.gil or _gil_by_version(one)
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


def _gil_by_version(one: Identity) -> str | None:
    """Return the GIL of an interpreter that does not report it, if its version leaves no choice."""
    version = _VERSION.match(one.python)  # reported by the server, so it may be anything
    older = version is not None and (int(version[1]), int(version[2])) < (3, 12)
    return "shared" if older else None


def _mode(one: Identity) -> Mode | None:
    if one.process_group is None:
        return None
    return Mode.DAEMON if one.process_group else Mode.EMBEDDED


def interpreters(cell: Cell, observed: Observed) -> Outcome:
    """Each URL is served by its own interpreter, with several interpreters in one process."""
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
            meaning="the differences between sub interpreters were not tested at all",
            action="check the application groups in the WSGIScriptAlias lines of httpd.conf",
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
        answers = "; ".join(
            f"pid {pid}: {', '.join(f'{number} from {url}' for url, number in served.items())}"
            for pid, served in by_process.items()
        )
        return Outcome(
            missing=f"no process served all URLs {MIN_ANSWERS} times or more ({answers})"
        )
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
    """Every BSON value comes back with the same value and the same type."""
    if cell.app:
        return Outcome(skipped="your own application (--app) makes no round trips")
    answers = sum(one.answers for one in observed.identities)
    if observed.problems:
        number = sum(problem.count for problem in observed.problems)
        order, interpreters = first_use(observed)
        groups = sorted({problem.application_group for problem in observed.problems})
        finding = Finding(
            check="roundtrip",
            seen=(
                f"{count(number, 'value')} changed while they were encoded and decoded or sent "
                f"through the server, in {', '.join(groups)}{f'; {order}' if order else ''}"
            ),
            meaning=(
                "PyMongo returned another value or another type than it was given; a type of the "
                "same name, but not the same class, comes from another interpreter's modules"
            ),
            action="rerun this cell with one sub interpreter to see whether it takes a second one",
            evidence=interpreters
            + evidence(
                f"[{problem.phase}] pid {problem.pid} {problem.application_group}: "
                f"{problem.text} ({problem.count} x)"
                for problem in observed.problems
            ),
        )
        return Outcome(findings=(finding,))
    if not answers:
        return Outcome(missing="no answer reported a round trip")
    return Outcome(passed=f"every BSON type came back unchanged in {count(answers, 'answer')}")
