"""What a finding about processes that hang says of them: at a request, at a stop, at a restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from wsgiproof.judge import stacks
from wsgiproof.judge.finding import count, evidence, some
from wsgiproof.records import Finding, Observed, Stack


def staying(
    check: str,
    seen: str,
    meaning: str,
    observed: Observed,
    pids: Sequence[int],
    read: Sequence[Stack],
) -> Finding:
    """What a check says of processes (``pids``) that did not go, with the stacks taken of them."""
    blocked = stacks.blocked(read, observed.unfinished)
    return Finding(
        check=check,
        seen=f"{seen}; blocked: {blocked}" if blocked else seen,
        meaning=meaning,
        action=hung_action(read, blocked),
        evidence=evidence(
            [f"pids {some(pids, 10)}", *hung_evidence(observed, read)] if pids else []
        ),
    )


def hung_action(seen: Sequence[Stack], blocked: str) -> str:
    """What to do about processes that hang, where these stacks of them were taken."""
    if blocked:
        return "read the stacks: what the blocked threads wait for, and who has it"
    how = "; ".join(stacks.notes(seen))
    return "take the stacks of the process while it hangs (pystack remote PID --native-all)" + (
        f": {how}" if how else ""
    )


def hung_evidence(observed: Observed, seen: Sequence[Stack]) -> list[str]:
    """Who holds the GIL, where threads wait, which requests they are at, and what is not known."""
    return [
        *stacks.gil(seen),
        *stacks.examples(seen, observed.unfinished),
        *running(observed, [one.pid for one in seen]),
        *(f"stacks: {note}" for note in stacks.notes(seen)),
    ]


def running(observed: Observed, pids: Sequence[int]) -> list[str]:
    """The requests that these processes were at, a line for each process."""
    lines = []
    for pid in pids:
        urls = Counter(one.url for one in observed.unfinished if one.pid == pid)
        if urls:
            told = some([f"{url} ({number} x)" for url, number in urls.most_common()])
            lines.append(f"pid {pid} was at {count(urls.total(), 'request')}: {told}")
    return lines
