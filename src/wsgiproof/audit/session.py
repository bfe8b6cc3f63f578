"""A whole audit: the environments one after the other, their distributions several at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from wsgiproof.audit.auditor import Auditor, Progress, in_parallel
from wsgiproof.audit.elsewhere import Elsewhere, Lot, Tried
from wsgiproof.audit.environment import (
    Inventory,
    built_interpreter,
    environment_build,
    interpreter_in,
    name_of,
    resolve,
    take_inventory,
)
from wsgiproof.audit.processes import Prober, check_scratch
from wsgiproof.audit.record import Judged, Record, Request, finished_in
from wsgiproof.audit.searcher import Searcher
from wsgiproof.errors import UsageError
from wsgiproof.judge.audited import advise, advise_release, owners
from wsgiproof.judge.finding import count
from wsgiproof.process.account import Account, unused_accounts
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.python import installed
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.audit import (
    Audit,
    Distribution,
    Environment,
    Outcome,
    Result,
    Search,
    StandardFailure,
)
from wsgiproof.records.cell import InterpreterKind

Baseline = dict[InterpreterKind, Sequence[StandardFailure]]
"""What fails of the standard library alone, in each kind."""
_OLDEST = Version("3.10")
"""The first that says which modules are of its standard library."""
_OWN_GIL_SINCE = Version("3.12")
_TOOLS = {"pip", "setuptools", "wheel"}
"""Distributions that an environment may have without anybody having asked for them."""


def check(request: Request) -> None:
    """Raise :class:`UsageError` for what the Pythons can't do or what is not there, and
    :class:`wsgiproof.errors.CannotRun` for what the unprivileged user can't reach."""
    (account,) = unused_accounts(1)
    check_scratch(account)
    for python in request.pythons:
        _check_python(
            python.title, python.version, request.kinds, free_threaded=python.free_threaded
        )
    if request.env is not None:
        interpreter_in(request.env, account)


def audit(
    request: Request,
    progress: Progress,
    save: Callable[[Audit], None],
    *,
    before: Audit | None = None,
    elsewhere: Elsewhere | None = None,
) -> Audit:
    """Audit what is requested, and return the record.

    ``save`` is called with the record so far after each distribution. Distributions that were
    installed for the audit are tried ``elsewhere``, if that is given. What ``before``, the record
    of an audit that was interrupted, has of finished distributions is kept. Raises as
    :func:`check`, :class:`wsgiproof.errors.CannotRun` if an environment can't be made or read, and
    :class:`UsageError` if ``before`` does not fit.
    """
    record = Record(request, save, before)
    accounts = unused_accounts(request.jobs)
    if request.env is not None:
        _existing(request.env, request, accounts, progress, record)
    for python in request.pythons:
        _made(python, request, accounts, progress, record, elsewhere)
    return record.finish()


def _check_python(
    title: str, version: str, kinds: Sequence[InterpreterKind], *, free_threaded: bool
) -> None:
    with_gil = {InterpreterKind.SHARED_GIL, InterpreterKind.OWN_GIL}.intersection(kinds)
    if free_threaded and with_gil:
        raise UsageError(
            f"{title} is built without a GIL, and has no {min(with_gil)} interpreters: use "
            "--interpreter free-threaded"
        )
    if InterpreterKind.FREE_THREADED in kinds and not free_threaded:
        raise UsageError(
            f"{title} is not built without a GIL (--disable-gil), which --interpreter "
            "free-threaded needs: 'wsgiproof doctor --pythons' lists those of this machine, and "
            "'wsgiproof build python 3.13t' builds one"
        )
    if Version(version) < _OLDEST:
        raise UsageError(f"{title} does not list its standard library: use 3.10 or newer")
    if InterpreterKind.OWN_GIL in kinds and Version(version) < _OWN_GIL_SINCE:
        raise UsageError(
            f"{title} has no interpreters with their own GIL: use 3.12 or newer, or leave "
            "--interpreter own-gil out"
        )


def _existing(
    home: Path,
    request: Request,
    accounts: Sequence[Account],
    progress: Progress,
    record: Record,
) -> None:
    prober = Prober(python=interpreter_in(home, accounts[0]), timeout=request.timeout)
    progress.step(f"reading {home}")
    inventory = take_inventory(prober, accounts[0])
    _check_python(
        _title(inventory),
        inventory.version,
        request.kinds,
        free_threaded=inventory.free_threaded,
    )
    python = _installed_like(inventory) if request.releases else None
    found = _audit(inventory, prober, request, accounts, progress, record)
    if python is not None:
        _search(found, python, request, accounts, progress, record)


def _made(
    python: Python,
    request: Request,
    accounts: Sequence[Account],
    progress: Progress,
    record: Record,
    elsewhere: Elsewhere | None,
) -> None:
    progress.step(f"choosing versions for {python.title}")
    resolved = resolve(request.requirements, python)
    build, cache = environment_build(resolved, python), Cache()
    how = "using" if cache.has(build) else "making"
    source = "" if resolved.wheels_only else ", some built from source"
    progress.step(f"{how} {build.title}{source}")
    interpreter = built_interpreter(cache.get(build))
    prober = Prober(python=interpreter, timeout=request.timeout)
    inventory = take_inventory(prober, accounts[0])
    missing = [
        Result(name=name, version=version, kind=kind, outcome=Outcome.NOT_INSTALLABLE, reason=why)
        for requirement, why in resolved.not_installable.items()
        for name, version in [name_of(requirement)]
        for kind in request.kinds
    ]

    def tried(left: Sequence[Distribution], baseline: Baseline) -> Generator[Tried]:
        assert elsewhere is not None
        lot = Lot(
            resolved=resolved,
            python=python,
            distributions=inventory.distributions,
            baseline=baseline,
            request=request,
        )
        return elsewhere.tried(lot, left, progress)

    sent = tried if elsewhere else None
    found = _audit(inventory, prober, request, accounts, progress, record, missing, sent)
    if request.releases:
        _search(found, python, request, accounts, progress, record)


def _audit(
    inventory: Inventory,
    prober: Prober,
    request: Request,
    accounts: Sequence[Account],
    progress: Progress,
    record: Record,
    missing: Sequence[Result] = (),
    sent: Callable[[Sequence[Distribution], Baseline], Generator[Tried]] | None = None,
) -> Environment:
    """Audit what is installed, and record it; ``missing`` are the results of what can't be, and
    ``sent`` tries it on other machines."""
    kinds = request.kinds
    auditor = Auditor(prober, request, accounts, progress)
    title = _title(inventory)
    chosen = [one for one in inventory.distributions if _is_chosen(one, request)]
    before = record.before(title, inventory.distributions)
    baseline: Baseline = {}
    if before is None:
        progress.step(f"trying the standard library of {title} alone")
        others = (kind for kind in kinds if kind is not InterpreterKind.MAIN)
        baseline.update((kind, auditor.baseline(kind)) for kind in others)
    else:
        baseline.update(before.baseline)
        auditor.not_confined.update(before.not_confined)
    judged = finished_in(before, kinds)
    record.begin(
        Environment(
            python=title,
            path=str(prober.python),
            kinds=kinds,
            distributions=inventory.distributions,
            audited=tuple(one.name for one in chosen),
            baseline={kind: tuple(found) for kind, found in baseline.items()},
            searches=before.searches if before else (),
        )
    )

    def save() -> Environment:
        there = [judged[key] for one in chosen if (key := (one.name, one.version)) in judged]
        control = tuple(main for main, _ in there)
        results = (*(one for _, others in there for one in others), *missing)
        told = results and len(there) == len(chosen)
        return record.update(
            results=results,
            control=control,
            advice=tuple(advise(results, control, kind) for kind in kinds) if told else (),
            not_confined=dict(auditor.not_confined),
        )

    def keep(result: Judged) -> None:
        judged[result[0].name, result[0].version] = result
        save()

    save()
    left = [one for one in chosen if (one.name, one.version) not in judged]
    earlier = f", {len(judged)} finished before" if judged else ""
    progress.step(f"trying {count(len(left), 'distribution')} on {title}{earlier}")
    if sent is not None:
        with closing(sent(left, baseline)) as results:
            for number, tried in enumerate(results, 1):
                auditor.not_confined.update(tried.not_confined)
                keep(tried.judged)
                progress.count(f"{number} of {len(left)}, {tried.judged[0].name}")
        return save()
    owner = owners(inventory.distributions)
    in_parallel(
        left,
        lambda one: auditor.judged(one, baseline, owner),
        lambda one: one.name,
        request.jobs,
        progress,
        keep,
    )
    return save()


def _installed_like(inventory: Inventory) -> Python:
    """Return a Python of this machine to install other releases for, in the place of that of an
    environment. Raises :class:`UsageError` if there is none."""
    build = inventory.version, inventory.free_threaded
    for one in installed():
        if (one.version, one.free_threaded) == build:
            return one
    raise UsageError(
        f"--find-working needs a {_title(inventory)} on this machine to install other releases "
        "for: leave it out"
    )


def _title(inventory: Inventory) -> str:
    return f"Python {inventory.version}{'t' if inventory.free_threaded else ''}"


def _is_chosen(one: Distribution, request: Request) -> bool:
    asked = {canonicalize_name(name_of(text)[0]) for text in request.requirements}
    name = canonicalize_name(one.name)
    if name in _TOOLS and name not in asked:
        return False
    return request.everything or bool(one.extensions)


def _search(
    environment: Environment,
    python: Python,
    request: Request,
    accounts: Sequence[Account],
    progress: Progress,
    record: Record,
) -> None:
    """Search releases that work, and record them."""

    def save(found: Sequence[Search]) -> None:
        advice = (*environment.advice, *map(advise_release, found))
        record.update(searches=tuple(found), advice=advice)

    Searcher(python, request, accounts, progress).search(environment, save)
