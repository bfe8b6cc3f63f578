"""The checks that read the application's answers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from wsgiproof.judge.failed import failed_requests
from wsgiproof.judge.finding import Check, Claim, ClaimsOf, Outcome, count, evidence
from wsgiproof.judge.first_use import path
from wsgiproof.judge.lifecycle import HUNG
from wsgiproof.records.cell import Cell, InterpreterKind, Loading, Mode
from wsgiproof.records.judgement import Finding
from wsgiproof.records.observed import Echo, Identity, Observed
from wsgiproof.records.plan import REPLACING, PhaseName

MIN_ANSWERS = 10
"""Answers that one interpreter of one process must give before a check relies on them."""

_ENOUGH_TO_DIFFER = 100
"""Answers to one URL that are needed to say which of them is the usual one."""
_FEW = 0.02
"""The share of answers that are unusual, at most."""

_JUDGED_BY_PHASE = {PhaseName.FAILOVER, *REPLACING}
"""Phases in which some requests may fail. Each of them has its own check, which says which."""
_LOADED = re.compile(
    r"\[[^]]*\] \[wsgi:info\] \[pid (?P<pid>\d+):tid (?P<tid>\d+)\] "
    r"(?:\[(?P<url>/[^]]*)\] )?(?P<rest>.*\bLoading (?:WSGI|Python) script\b.*)"
)
"""What mod_wsgi logs when it loads a script; it names the application group before or after."""
_CONFIGURED = re.compile(
    r"\[[^]]*\] \[mpm_(\w+):notice\] \[pid .*\bApache/.* configured -- resuming normal operations"
)
_LOADED_SO = "check the WSGIScriptAlias lines of httpd.conf, and lines that --directive adds"
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")


def responses(cell: Cell, observed: Observed) -> Outcome:
    """Every request that ends is answered in full, with a status and a body that are right.

    A status is right if it is a success (2xx) or was expected by the user, and a body if it is not
    that of another request.
    """
    failures = [
        failure
        for failure in observed.failures
        if failure.kind != HUNG and failure.phase not in _JUDGED_BY_PHASE
    ]
    if failures:
        return Outcome(findings=(failed_requests(observed, failures),))
    mixed = [echo for echo in observed.echoes if echo.others]
    if mixed:
        return Outcome(findings=(_mixed_up(mixed),))
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
    notes = _differing(observed) + _repeated(cell, observed)
    return Outcome(passed=f"{requests} answered correctly{notes}")


def _mixed_up(mixed: Sequence[Echo]) -> Finding:
    return Finding(
        check="responses",
        seen="; ".join(
            f"{path(one.url)}: in the {one.where} of {one.others:,} of "
            f"{count(one.together, 'answer')} to requests made at the same time is the {one.what} "
            f"of another request; in all {one.alone:,} to requests made alone it is their own"
            for one in mixed
        ),
        meaning="the application mixes up requests: a user gets what belongs to another one",
        action=(
            "look for what a request keeps in a global or in an attribute of a shared object; "
            "keep it in environ, in a local variable or in a contextvars.ContextVar; if requests "
            "share one answer on purpose, let it name none of them"
        ),
        evidence=evidence(
            f"{path(one.url)}: the answer to {one.own} has {one.other}: {one.text}" for one in mixed
        ),
    )


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


def _repeated(cell: Cell, observed: Observed) -> str:
    """Return a note on whether an answer that belongs to another request would have shown."""
    if not cell.own_app:
        return ""
    if not observed.echoes:
        return (
            "; one that belongs to another request would not show, since none repeats its own "
            "X-Request-ID"
        )
    return "; none repeats what belongs to another request"


def environment(claims_of: ClaimsOf) -> Check:
    """Return the check ``environment``.

    ``claims_of`` returns what the subject says has to be true of an identity that it reported.
    """

    def check(cell: Cell, observed: Observed) -> Outcome:
        """The interpreters that serve are what the cell declares, as each reports itself."""
        known = (*observed.identities, *observed.loaded)
        wrong: dict[str, list[Identity | None]] = defaultdict(list)
        actions: dict[str, None] = {}
        unknown = set()
        every = [one.subject for one in known]
        mpm = _mpm_of_log(observed)
        told = [
            (claim, one)
            for one in known
            for claim in (*_common_claims(cell, one, mpm), *claims_of(cell, one.subject, every))
        ]
        for claim, one in (*told, *((claim, None) for claim in _loading_claims(cell, observed))):
            if claim.actual is None:
                unknown.add(claim.what)
            elif claim.actual != claim.expected:
                wrong[f"{claim.what} is {claim.actual}, not {claim.expected}"].append(one)
                actions[claim.action] = None
        if wrong:
            return Outcome(findings=(_not_as_declared(wrong, actions, known),))
        if not observed.identities:
            return Outcome(missing="no interpreter answered, so what was tested is unknown")
        if unknown:
            return Outcome(missing=f"no interpreter reported {', '.join(sorted(unknown))}")
        return Outcome(passed="every interpreter is what the cell declares")

    return check


def _not_as_declared(
    wrong: Mapping[str, Sequence[Identity | None]],
    actions: Iterable[str],
    known: Sequence[Identity],
) -> Finding:
    return Finding(
        check="environment",
        seen="; ".join(f"{text} ({_where(which, known)})" for text, which in wrong.items()),
        meaning="the cell tested something other than what it declares",
        action="; ".join(filter(None, actions)),
        evidence=evidence(
            f"{one.url or one.application_group} pid {one.pid}: Python {one.python}, "
            f"mod_wsgi {one.mod_wsgi}, MPM {one.mpm}, process group '{one.process_group}', "
            f"GIL {one.gil}, {', '.join(f'{name} {value}' for name, value in one.subject.items())}"
            for one in known
        ),
    )


def _where(which: Sequence[Identity | None], known: Sequence[Identity]) -> str:
    """Return in how many answers something was wrong, and in which interpreters if not in all."""
    found = [one for one in which if one is not None]
    answers = sum(one.answers for one in found)
    text = count(answers, "answer") if answers else "when it was loaded"
    groups, others = ({one.application_group or "" for one in some} for some in (found, known))
    return f"{text} of {', '.join(sorted(groups))}" if found and groups < others else text


def _mpm_of_log(observed: Observed) -> str | None:
    """Return the MPM that started according to the error log; None if it does not say that."""
    found = (_CONFIGURED.search(line.text) for line in observed.log)
    return next((match[1] for match in found if match), None)


def _common_claims(cell: Cell, one: Identity, mpm: str | None) -> Iterator[Claim]:
    """Yield what has to be true of every interpreter, whatever the subject is.

    ``mpm`` is that of the log: mod_wsgi before 4 does not tell an application which it is.
    """
    for what, expected, actual in (
        ("Python", cell.python, one.python),
        ("mod_wsgi", cell.mod_wsgi, one.mod_wsgi),
        ("the MPM", str(cell.mpm), one.mpm or mpm),
        ("the mode", cell.mode, _mode(one)),
        ("the interpreter", str(cell.interpreter), _interpreter_kind(one)),
        ("the GIL", cell.interpreter is not InterpreterKind.FREE_THREADED, one.gil_enabled),
    ):
        yield Claim(what=what, expected=expected, actual=actual)


def _loading_claims(cell: Cell, observed: Observed) -> Iterator[Claim]:
    """Yield when processes have loaded the application, by the error log.

    A process that starts loads it in its main thread. The children of the MPM prefork have no other
    thread, but only a request has a URL, and the resource that its application group is then named
    after. With virtual hosts, a process that starts is told that name.
    """
    first: dict[str, Loading] = {}
    for line in observed.log:
        # What an application prints comes after a beginning of Apache's own.
        if match := _LOADED.match(line.text):
            of_request = match["url"] or ("|/" in match["rest"] and not cell.virtual_hosts)
            late = match["pid"] != match["tid"] or of_request
            first.setdefault(match["pid"], Loading.LAZY if late else Loading.EAGER)
    loaded = set(first.values())
    if loaded or cell.loading is Loading.LAZY:
        others = loaded - {cell.loading}
        actual = next(iter(others), cell.loading) if loaded else None
        yield Claim(what="the loading", expected=cell.loading, actual=actual, action=_LOADED_SO)


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
    if cell.httpd_conf and (shared or len({one.process_group for one in observed.identities}) > 1):
        return Outcome(skipped="your httpd.conf does not give each URL an interpreter of its own")
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
