"""The search for a release of a distribution that works: the nearest ones first, each tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from wsgiproof.records.audit import Outcome, Release, Result, Search
from wsgiproof.records.cell import InterpreterKind

Next = Callable[[str, bool], str]
"""Returns the release next to a version, newer (True) or older (False); empty if there is none."""
Try = Callable[[str], Mapping[InterpreterKind, Result]]
"""Returns what a release does in each kind of interpreters."""


def search(
    failing: Sequence[Result], most: int, next_release: Next, try_release: Try
) -> tuple[Search, ...]:
    """Return which release of one distribution works in each kind in which ``failing`` says that
    the installed one does not.

    At most ``most`` releases are tried. One that works in a kind ends the search in that kind.
    """
    found = {one.kind: Search(name=one.name, version=one.version, kind=one.kind) for one in failing}
    wanted = set(found)
    releases = _nearest_first(failing[0].version, next_release)
    for _ in range(most):
        version = next(releases, "") if wanted else ""
        if not version:
            break
        results = try_release(version)
        for kind in sorted(wanted):
            one = results[kind]
            works = one.outcome is Outcome.WORKS
            release = Release(version=version, outcome=one.outcome, reason=one.reason)
            found[kind] = msgspec.structs.replace(
                found[kind],
                tried=(*found[kind].tried, release),
                works=version if works else "",
            )
            if works:
                wanted.discard(kind)
    return tuple(found.values())


def _nearest_first(version: str, next_release: Next) -> Iterator[str]:
    """Yield releases, newer and older ones in turn, away from ``version``."""
    at = {True: version, False: version}
    while at:
        for newer in [*at]:
            release = next_release(at[newer], newer)
            if release:
                at[newer] = release
                yield release
            else:
                del at[newer]
