"""The checks of counted resources, such as connections, descriptors and threads."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wsgiproof.judge.count_decisions import decisions_of, judged_samples, when_full, worst_of
from wsgiproof.judge.file_growth import with_file_growth
from wsgiproof.judge.finding import Check, Outcome, count, in_words
from wsgiproof.judge.growth import LEAST_SAMPLES, CountDecision, LeakStatus
from wsgiproof.judge.leak_finding import finding, requests_of
from wsgiproof.judge.leak_load import more_to_show
from wsgiproof.judge.resources import Resource, all_counts
from wsgiproof.records.cell import Cell
from wsgiproof.records.observed import Observed, Sample


def counted(resource: Resource) -> Check:
    """Return the check that a resource does not grow."""

    def check(cell: Cell, observed: Observed) -> Outcome:
        outcome = _check(resource, cell, observed)
        if resource.limited:
            outcome = with_file_growth(outcome, observed)
        note = resource.note(cell) if resource.note and outcome.passed else ""
        if not note:
            return outcome
        return msgspec.structs.replace(outcome, passed=f"{outcome.passed}; {note}")

    check.__doc__ = resource.about
    return check


def _check(resource: Resource, cell: Cell, observed: Observed) -> Outcome:
    if (resource.by_backend or resource.of_backend) and not observed.backend:
        return Outcome(skipped="the cell has no deployment")
    if resource.anonymous and not observed.owned:
        return Outcome(
            skipped=f"the deployment may have other clients, whose {resource.check} look alike"
        )
    if resource.by_backend and _never_connected(observed):
        unused = (
            f"the application never opened a connection to {observed.backend}, so there was "
            "nothing to see"
        )
        return Outcome(skipped=unused) if cell.own_app else Outcome(missing=unused)
    if resource.by_name and not _recorded(resource, observed.samples):
        return Outcome(skipped="the version that recorded this cell did not count them")
    decisions = decisions_of(resource, observed)
    full = when_full(resource, observed)
    worst = worst_of([*decisions, *full])
    if worst is not None and worst.status is LeakStatus.LEAK:
        return Outcome(findings=(finding(resource, worst, observed),))
    gaps = _gaps(resource, observed, decisions)
    if gaps:
        why = resource.uncounted(cell) if resource.uncounted else ""
        return Outcome(missing=why or "; ".join(gaps))
    if worst is None:
        return Outcome(missing=f"no {resource.unit} was ever counted")
    if worst.status is LeakStatus.UNDECIDED:
        assert worst.rate is not None
        return Outcome(
            missing=f"{resource.check} grew by {worst.units}, {worst.rate.describe()}, but "
            f"{worst.doubt}: {_what_decides(worst, observed)}"
        )
    every = [*decisions, *full]
    return Outcome(
        passed=_passed(resource, worst_of(decisions) or worst, every, full)
        + _short_of_sensitivity(resource, observed)
        + _notes(resource, worst, observed)
    )


def _never_connected(observed: Observed) -> bool:
    samples = observed.samples
    return bool(samples) and all(sample.connections == 0 for sample in samples)


def _recorded(resource: Resource, samples: Sequence[Sample]) -> bool:
    """Return whether any of the counts by name was read, or there was no time to read one."""
    return not samples or any(name in one.counts for one in samples for name in resource.by_name)


def _what_decides(decision: CountDecision, observed: Observed) -> str:
    if decision.processes and not decision.gone:
        return "processes that live longer would decide (without --min-processes)"
    if not decision.gone:
        return f"about {decision.of_server(decision.more):,} more requests would decide (-n)"
    seconds = observed.plan.drain or observed.plan.cool_down
    return f"a drain of more than {seconds:g} seconds would decide (--drain-seconds)"


def _passed(
    resource: Resource,
    decision: CountDecision,
    every: Sequence[CountDecision],
    full: Sequence[CountDecision],
) -> str:
    """``full`` are those of ``every`` decision that compare the counts with all pools full."""
    # A short load may have enough samples of the serial phase alone.
    mixed = [one for one in every if not one.alone] or every
    bound = f"a leak of {_rate(max(one.excluded_rate for one in mixed))} would have shown (95 %)"
    if decision.drained_requests:
        return (
            f"{resource.check} grew, and {decision.gone:,} of them were gone after a while without "
            f"a request; {count(decision.drained_requests, 'more request')} left none; {bound}"
        )
    alone = max((one.excluded_rate for one in every if one.alone), default=0.0)
    also = f", and {_rate(alone)} if each is alone" if alone else ""
    grown = "did not grow" if not decision.units else f"grew by {decision.units} in all"
    how = "to processes that stayed" if decision.settled else "with all pools full"
    then = f", and by none in {decision.confirmed_requests:,} more {how}"
    more = max((one.units for one in full), default=0)
    again = f"; with all pools full again, there were {more} more" if full else ""
    return (
        f"{resource.check} {grown} in {requests_of(decision)}"
        f"{then if decision.confirmed_requests else ''}{again}; {bound}{also}"
    )


def _rate(units: float) -> str:
    """``one in 250 requests``"""
    return f"one in {1 / units:,.0f} requests" if units <= 1 else f"{units:,.1f} in each request"


def _short_of_sensitivity(resource: Resource, observed: Observed) -> str:
    """Return that the load ended before its sensitivity was shown; empty if it was."""
    if not any(more_to_show({resource.check: resource}, observed)):
        return ""
    return f"; that is less than --sensitivity {observed.plan.sensitivity} is to show"


def _notes(resource: Resource, decision: CountDecision, observed: Observed) -> str:
    """Return what a pass accepts, and what it does not cover, as text that begins with ``; ``."""
    notes = []
    if decision.within_limit:
        notes.append(f"{observed.plan.max_files:g} in 100 requests are accepted (--max-files)")
    if resource.by_name and (unsure := _unsure(resource, observed.samples)):
        notes.append(f"not counted, since another program may make them: {in_words(unsure)}")
    return "".join(f"; {note}" for note in notes)


def _unsure(resource: Resource, samples: Sequence[Sample]) -> list[str]:
    """Return the counts that are left out of a sample."""
    return [name for name in resource.by_name if any(name not in one.counts for one in samples)]


def _gaps(resource: Resource, observed: Observed, decisions: Sequence[CountDecision]) -> list[str]:
    """Return the evidence that is missing and that a pass would need."""
    every = all_counts(judged_samples(resource, observed), resource)
    gaps = [gap for counts in every for gap in counts.gaps]
    if not gaps and not decisions:
        gaps.append(
            f"{resource.check} were counted in {count(len(observed.samples), 'sample')}; "
            f"at least {LEAST_SAMPLES} are needed, with requests between them"
        )
    return gaps
