"""The confusion table in Markdown, and the cases that are not as they should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.truth.cases import BUGS, HEALTHY, Case
from tests.truth.compare import OF_BUGS, OF_HEALTHY, Comparison, Result, worst

BELOW = "<!-- below: python -m tests.truth --table docs/truth.md -->"
"""What stands above the table in a file; all that follows is replaced."""
Outcomes = Mapping[str, Sequence[Comparison]]
"""The comparisons of each case, by its id: one for each run."""


def wrong(outcomes: Outcomes) -> list[str]:
    """Return the ids of cases of which at least one run is not as it should be."""
    return [name for name, runs in outcomes.items() if not all(one.right for one in runs)]


def table(cases: Sequence[Case], outcomes: Outcomes) -> str:
    """Return a confusion table for each folder. A case of several runs counts at its worst."""
    titles = {
        BUGS: ("planted bug", OF_BUGS),
        HEALTHY: ("healthy application", OF_HEALTHY),
    }
    tables = []
    for folder, (title, columns) in titles.items():
        counted = [(one.kind, worst(outcomes[one.id]).result) for one in cases_of(cases, folder)]
        if counted:
            tables.append("\n".join(_one_table(title, counted, columns)))
    return "\n\n".join(tables)


def cases_of(cases: Iterable[Case], folder: str) -> list[Case]:
    """Return the cases of ``folder``."""
    return [case for case in cases if case.folder == folder]


def listed(cases: Sequence[Case], outcomes: Outcomes) -> list[str]:
    """Return a line for each case that is not as it should be, with the reasons."""
    bad = set(wrong(outcomes))
    lines = []
    for case in cases:
        if case.id not in bad:
            continue
        runs = outcomes[case.id]
        one = worst(runs)
        count = sum(not run.right for run in runs)
        lines.append(
            f"- `{case.id}`: {one.result} ({count} of {len(runs)})"
            f"; expected: {expected(case)}. {case.why}"
        )
        lines += [f"    - {_plain(reason)}" for reason in one.reasons]
    return lines


def beside(cases: Sequence[Case], outcomes: Outcomes) -> list[str]:
    """Return a line for each bug that was caught, and for which an unexpected check failed too."""
    return [
        f"- `{case.id}`: {', '.join(found)}"
        for case in cases_of(cases, BUGS)
        if (found := sorted({check for one in outcomes[case.id] for check in one.besides}))
        and all(one.result is Result.CAUGHT for one in outcomes[case.id])
    ]


def real(cases: Sequence[Case], outcomes: Outcomes) -> list[str]:
    """Return a line for each healthy application in which a library crashed."""
    return [
        f"- `{case.id}`: {_plain(reason)}"
        for case in cases_of(cases, HEALTHY)
        for one in outcomes[case.id]
        if one.result is Result.REAL
        for reason in one.reasons
    ]


def expected(case: Case) -> str:
    """Say what has to come of the case."""
    wanted = " or ".join([*case.expect, *case.expect_new]) or "pass"
    return wanted + (f" (also {', '.join(case.also)})" if case.also else "")


def page(cases: Sequence[Case], outcomes: Outcomes, head: str) -> str:
    """Return all that stands below the mark of the page."""
    lines = [head, "", table(cases, outcomes)]
    bad = listed(cases, outcomes)
    lines += ["", "### Not as it should be", "", *(bad or ["None."])]
    if crashes := real(cases, outcomes):
        lines += ["", "### Healthy, and a library crashed", "", *crashes]
    if more := beside(cases, outcomes):
        lines += ["", "### Caught, and failed by other checks too", "", *more]
    return "\n".join(lines)


def write(file: Path, text: str) -> None:
    """Replace what stands below the mark of ``file``."""
    before = file.read_text().partition(BELOW)[0] if file.exists() else ""
    file.write_text(f"{before}{BELOW}\n\n{text}\n")


def _one_table(
    title: str, counted: Sequence[tuple[str, Result]], columns: Sequence[Result]
) -> list[str]:
    counts = Counter(counted)
    kinds = sorted({kind for kind, _ in counted})
    rows = [(kind, [counts[kind, column] for column in columns]) for kind in kinds]
    sums = [sum(counts[kind, column] for kind in kinds) for column in columns]
    return [
        f"| {title} | cases | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * (len(columns) + 1),
        *(
            f"| {kind} | {sum(numbers)} | {' | '.join(map(str, numbers))} |"
            for kind, numbers in rows
        ),
        f"| **all** | {sum(sums)} | {' | '.join(map(str, sums))} |",
    ]


def _plain(reason: str) -> str:
    """One line that no renderer takes for markup: reasons quote what applications wrote."""
    text = " ".join(reason.replace("`", "'").split())
    return f"`{text[:300]}`"
