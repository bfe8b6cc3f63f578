"""Finds out which interpreters went wrong, and whether the first use of another one came before.

A C extension that keeps its types in static variables works until a second interpreter uses it
(PYTHON-569). Others refuse the second interpreter. The record holds the order: how many answers the
cell had given before the first answer of each interpreter, and before the first occurrence of each
problem and of each failure. The error log holds the order in which a process made its interpreters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf

import msgspec

from wsgiproof.judge.finding import count
from wsgiproof.records.observed import Failure, Identity, LogLine, Observed

_CREATED = re.compile(
    r"\[pid (?P<pid>\d+)\b.*\b(?:Create interpreter|Creating sub-interpreter) '(?P<group>[^']+)'"
)
"""What mod_wsgi logs when it makes a sub interpreter, before 6 and since."""


class _FirstProblem(msgspec.Struct, frozen=True):
    """The first problem of an interpreter that reported any."""

    identity: Identity
    answers_before: int
    """Answers that the whole cell had given before."""
    own_answers_before: int
    """Answers that this interpreter had given before."""

    def describe(self) -> str:
        one = self.identity
        return (
            f"pid {one.pid}: {one.application_group} first answered in answer {one.first + 1} of "
            f"the cell, and was first wrong in answer {self.answers_before + 1}, after "
            f"{count(self.own_answers_before, 'answer')} without a problem"
        )


def first_use(observed: Observed) -> tuple[str, tuple[str, ...]]:
    """Return which interpreter went wrong when which other one was first used, and the evidence.

    Both are empty if no interpreter answered correctly at first, or if no other one of its process
    gave its first answer in between.
    """
    for problem in _first_problems(observed):
        wrong = problem.identity
        for other in observed.identities:
            if (
                other.pid == wrong.pid
                and wrong.first < other.first <= problem.answers_before
                and problem.own_answers_before
            ):
                sentence = (
                    f"{wrong.application_group} was right in its first "
                    f"{count(problem.own_answers_before, 'answer')}, and wrong only after "
                    f"{other.application_group} had answered for the first time"
                )
                return sentence, _evidence(observed, wrong.pid)
    return "", ()


def _evidence(observed: Observed, pid: int) -> tuple[str, ...]:
    problems = [one for one in _first_problems(observed) if one.identity.pid == pid]
    return tuple(problem.describe() for problem in problems)


def _first_problems(observed: Observed) -> list[_FirstProblem]:
    """Return the first problem of each interpreter, in the order in which they first answered."""
    found = []
    for one in sorted(observed.identities, key=lambda one: one.first):
        problems = [
            problem
            for problem in observed.problems
            if problem.pid == one.pid and problem.application_group == (one.application_group or "")
        ]
        if problems:
            first = min(problems, key=lambda problem: problem.first)
            found.append(_FirstProblem(one, first.first, first.own_first))
    return found


# Failed requests, which name a URL and no process


def failed_by_interpreter(observed: Observed, failures: Sequence[Failure]) -> str:
    """Return how many requests to each interpreter failed, and the order of their first use.

    ``all 105 to interpreter2, none of 105 to interpreter1``; empty if the cell has one interpreter.
    """
    if len(observed.urls) < 2 or not failures:
        return ""
    failed: Counter[str] = Counter()
    for one in failures:
        failed[one.url] += one.count
    answered: Counter[str] = Counter()
    for identity in observed.identities:
        answered[identity.url] += identity.answers
    names = _names(observed)
    urls = sorted(observed.urls, key=lambda url: -failed[url])
    shares = [
        _share(failed[url], failed[url] + answered[url], names[url])
        for url in urls
        if failed[url] or answered[url]
    ]
    order = _failed_after(observed, failures, names) or _made_first(observed)
    return ", ".join(shares) + (f"; {order}" if order else "")


def logged_by_interpreter(observed: Observed, urls: Iterable[str]) -> str:
    """Return from which interpreters' requests something in the error log comes, if not from all.

    ``urls`` are the paths of these requests, without those of which the log does not name any.
    """
    names = {path(url): name for url, name in _names(observed).items()}
    numbers = Counter(names[url] for url in urls if url in names)
    others = [name for name in names.values() if not numbers[name]]
    if not numbers or not others:
        return ""
    return f"all in requests to {', '.join(numbers)}, and none to {', '.join(others)}"


def _share(failed: int, total: int, name: str) -> str:
    if not failed:
        return f"none of {total:,} to {name}"
    return f"all {total:,} to {name}" if failed == total else f"{failed:,} of {total:,} to {name}"


def _names(observed: Observed) -> dict[str, str]:
    """Return the name of the interpreter of each URL: its application group, or else the path."""
    groups = {one.url: one.application_group for one in (*observed.loaded, *observed.identities)}
    return {url: groups.get(url) or path(url).strip("/") or url for url in observed.urls}


def path(url: str) -> str:
    """Return the path of a URL, without its query."""
    return "/" + url.partition("://")[2].partition("/")[2].partition("?")[0]


def _failed_after(observed: Observed, failures: Sequence[Failure], names: Mapping[str, str]) -> str:
    """Return which interpreter failed after the first use of which other one.

    Empty if the record does not have the order, or if there are several processes, since a failed
    request does not name its process.
    """
    began = {
        url: min((one for one in failures if one.url == url), key=_first, default=None)
        for url in observed.urls
    }
    if observed.workers[0] > 1 or any(one and one.first is None for one in began.values()):
        return ""
    answered = [(one.url, one.first) for one in observed.identities]
    used = {
        url: min(_first(began[url]), *(first for one, first in answered if one == url), inf)
        for url in observed.urls
    }
    for url, failure in began.items():
        if failure is None:
            continue
        for other in observed.urls:
            if failure.own_first and used[url] < used[other] <= _first(failure):
                return (
                    f"{names[url]} was right in its first {count(failure.own_first, 'answer')}, "
                    f"and failed only after {names[other]} had been used for the first time"
                )
            if not failure.own_first and began[other] is None and used[other] < used[url]:
                return (
                    f"{names[url]} failed from its first request on, after {names[other]} had "
                    "answered for the first time"
                )
    return ""


def _first(failure: Failure | None) -> float:
    """Return the answers of the cell before a failure; infinity if it is unknown."""
    known = None if failure is None else failure.first
    return inf if known is None else known


def _made_first(observed: Observed) -> str:
    """Return that only the interpreter that each process made first has answered; else nothing."""
    answered: dict[int, set[str | None]] = {}
    for one in observed.identities:
        answered.setdefault(one.pid, set()).add(one.application_group)
    made = _first_made(observed.log)
    several = {pid: made[str(pid)] for pid in answered if str(pid) in made}
    if not several or any(answered[pid] != {first} for pid, first in several.items()):
        return ""
    names = sorted({*several.values()})
    return (
        "each process answered only from the interpreter that it had made first "
        f"({', '.join(names)})"
    )


def _first_made(log: Iterable[LogLine]) -> dict[str, str]:
    """Return the first sub interpreter of each process that made more than one."""
    made: dict[str, list[str]] = {}
    for line in log:
        if match := _CREATED.search(line.text):
            made.setdefault(match["pid"], []).append(match["group"])
    return {pid: groups[0] for pid, groups in made.items() if len({*groups}) > 1}
