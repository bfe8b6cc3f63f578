"""Distributions as tasks of a Dask cluster."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import msgspec

from wsgiproof.audit.auditor import Progress
from wsgiproof.audit.elsewhere import Lot, Tried, not_tried
from wsgiproof.errors import UsageError
from wsgiproof.provision.sent import SentFile
from wsgiproof.records.audit import Distribution
from wsgiproof.records.reading import Note
from wsgiproof.run.executors.base import run_jobs
from wsgiproof.run.executors.dask_cluster import DaskCluster
from wsgiproof.run.executors.ordered_distribution import DistributionOrder

_decode = msgspec.json.Decoder(Tried).decode


class OnDask:
    """Tries distributions on a cluster: an :class:`wsgiproof.audit.elsewhere.Elsewhere`."""

    def __init__(self, client: Any, note: Note) -> None:
        self._client = client
        self._note = note

    def tried(
        self, lot: Lot, distributions: Sequence[Distribution], progress: Progress
    ) -> Generator[Tried]:
        """Yield what each distribution did."""
        if distributions:
            cluster = DaskCluster(self._client, Distributions(lot, progress), self._note)
            yield from run_jobs(distributions, cluster)


class Distributions:
    """Tries the distributions of one environment."""

    kind = "distribution"

    def __init__(self, lot: Lot, progress: Progress) -> None:
        self._lot = lot
        self._progress = progress

    def name(self, one: Distribution) -> str:
        """Return the name of the distribution."""
        return one.name

    def needs(self, one: Distribution) -> object:
        """Return the same for all: the Python of the environment."""
        return self._lot.python.title

    def paths(self, one: Distribution) -> Sequence[str]:
        """Return no files: each machine makes the environment."""
        return ()

    def order(self, one: Distribution, files: Mapping[str, SentFile]) -> DistributionOrder:
        """Return the distribution with what is known of its environment."""
        return DistributionOrder(lot=self._lot, distribution=one)

    def begun(self, one: Distribution) -> None:
        """Show nothing: only what has ended is counted."""

    def heard(self, one: Distribution, host: str, event: str, content: Sequence[Any]) -> None:
        """Show nothing."""

    def waits(self, one: Distribution, why: str) -> None:
        """Show nothing."""

    def keep(self, one: Distribution, facts: Mapping[str, str], content: Any) -> Tried:
        """Return what came back, if it is about this distribution."""
        try:
            tried = _decode(content)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"what came back of {one.name} is damaged: {error}") from error
        main, others = tried.judged
        kinds = [result.kind for result in others]
        strange = {(o.name, o.version) for o in (main, *others)} != {(one.name, one.version)}
        if strange or kinds != [*self._lot.request.kinds]:
            raise UsageError(f"what came back of {one.name} is about something else")
        return tried

    def again(self, one: Distribution, why: str) -> Distribution:
        """Show that a try was lost."""
        self._progress.step(f"trying {one.name} again, since {why}")
        return one

    def give_up(self, one: Distribution, why: str) -> Tried:
        """Return that nothing is known of it."""
        return not_tried(self._lot, one, why)

    def ended(self, tried: Tried) -> None:
        """Show nothing: the audit counts."""
