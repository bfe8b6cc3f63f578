"""Audit the most downloaded distributions with compiled code, and write ``docs/compatibility.md``.

``run`` audits the list beside this file on each Python, one audit after the other, below a
directory; it goes on with what was interrupted. ``report`` writes the page from these records.
``make compatibility`` does both.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from wsgiproof.judge.audited import ended_badly
from wsgiproof.judge.finding import count, in_words
from wsgiproof.process.account import server_account
from wsgiproof.provision.python import choose
from wsgiproof.records.audit import AUDIT, FAILURES, Audit, Environment, Outcome, Result
from wsgiproof.records.cell import InterpreterKind
from wsgiproof.records.reading import load_audit
from wsgiproof.report.audited import cautions, lines_of
from wsgiproof.report.markdown import in_table, prose, table

LIST = Path(__file__).with_suffix(".txt")
PAGE = Path(__file__).parent.parent / "docs" / "compatibility.md"
_OWN_GIL_SINCE = Version("3.12")
_KINDS = (InterpreterKind.SHARED_GIL, InterpreterKind.OWN_GIL)
_LONGEST = 400
"""Characters of a reason."""
_Column = tuple[str, InterpreterKind]
"""A Python and a kind of interpreters."""
_Results = Mapping[_Column, Result]
"""What is known of one distribution."""


def ranks() -> dict[str, int]:
    """Return the rank of each distribution of the list, by its normalized name."""
    lines = (line for line in LIST.read_text().splitlines() if not line.startswith("#"))
    pairs = (line.partition("#") for line in lines)
    return {canonicalize_name(name.strip()): int(rank) for name, _, rank in pairs}


def run(pythons: Sequence[str], output: Path, jobs: int, trials: int) -> None:
    """Audit the list on each Python, in a directory of its own below ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    for wanted in pythons:
        python = choose(wanted, server_account())
        directory = output / python.version
        there = "--resume" if (directory / AUDIT).exists() else "--output"
        own_gil = Version(python.version) >= _OWN_GIL_SINCE
        kinds = _KINDS if own_gil else _KINDS[:1]
        command = [sys.executable, "-m", "wsgiproof", "audit", "-r", str(LIST)]
        command += ["--python", python.path, "--jobs", str(jobs), "--trials", str(trials)]
        command += [word for kind in kinds for word in ("--interpreter", kind)]
        code = subprocess.run([*command, there, str(directory)], check=False).returncode
        if not (directory / AUDIT).exists() or code not in (0, 1, 3):
            sys.exit(f"the audit on Python {python.version} ended with exit code {code}")


def page(audits: Sequence[Audit]) -> str:
    """Return the page, with a column for each Python and kind."""
    environments = [one for audit in audits for one in audit.environments]
    columns = [(one.python, kind) for one in environments for kind in one.kinds]
    found = _by_distribution(environments)
    ranked = ranks()
    names = sorted(found, key=lambda name: (ranked.get(name, sys.maxsize), name))
    listed = [name for name in names if name in ranked]
    parts = [
        "# Compatibility",
        _what(audits, environments, found, listed),
        *_totals(columns, found),
        "## Distributions",
        "Each outcome leads to its evidence. [Audit packages](audit.md#outcomes) says what they "
        "mean. A dash: it has no compiled code there, or was not tried.",
        table(
            ["rank", "distribution", *(f"{python[7:]} {kind}" for python, kind in columns)],
            [_row(name, found[name], columns, ranked) for name in names],
        ),
        "## How they were chosen",
        _HOW.format(listed=len(ranked), there=len(listed)),
        *(line for one in environments for line in map(prose, cautions(one))),
        "## Evidence",
        *(text for name in names for text in _evidence(found[name], columns)),
    ]
    return "\n\n".join(parts) + "\n"


_HOW = """\
Downloads decide the order: the rank is that in a list of the 15,000 most downloaded distributions
of the package index, as of November 2026. Whether a distribution has compiled code is not in that
list. So those that are known to have some were picked from its first 1,160 by hand: {listed}, of
which {there} have it on these Pythons. Left out are packages of several hundred megabytes (PyTorch,
TensorFlow, JAX, Ray and the like), those without a wheel for Linux, and those that install the same
modules as another one (psycopg2 beside psycopg2-binary, opencv-python beside its headless form).
What has no rank is needed by another one.

All are installed in one environment for each Python, in the newest versions that fit together, from
wheels. So a distribution can fail because of another one that it uses if it finds it: on Python
3.11 pandas hangs in this environment, and refuses because of numpy in one without pyarrow. The list
is `benchmarks/compatibility.txt`."""


def _what(
    audits: Sequence[Audit],
    environments: Sequence[Environment],
    found: Mapping[str, _Results],
    listed: Sequence[str],
) -> str:
    last = datetime.fromtimestamp(max(one.started for one in audits), UTC)
    pythons = in_words([one.python for one in environments])
    trials = count(max(one.trials for one in audits), "process", "processes")
    left = sum(one.left for one in environments)
    lines = [
        f"{count(len(found), 'distribution')} with compiled code, {len(listed)} of them among the "
        f"most downloaded ones, on {pythons}, as of {last:%Y-%m-%d}. `make compatibility` made "
        f"this page from `wsgiproof audit`, without Apache: up to {trials} for each of them and "
        "each kind of interpreters, so rare crashes at the end are not in here.",
    ]
    if left:
        lines.append(f"It is not finished: {left} were not tried.")
    return " ".join(lines)


def _totals(columns: Sequence[_Column], found: Mapping[str, _Results]) -> Iterator[str]:
    rows = []
    for python, kind in columns:
        outcomes = Counter(
            results[python, kind].outcome for results in found.values() if (python, kind) in results
        )
        total = sum(outcomes.values())
        broken = sum(outcomes[one] for one in FAILURES)
        told = ", ".join(f"{outcomes[one]} {one}" for one in Outcome if outcomes[one])
        rows.append([in_table(python), kind, f"{broken} of {total}", told])
    yield table(["Python", "interpreters", "break", "outcomes"], rows)


def _by_distribution(environments: Sequence[Environment]) -> dict[str, dict[_Column, Result]]:
    found: dict[str, dict[_Column, Result]] = {}
    for environment in environments:
        for one in environment.results:
            name = canonicalize_name(one.name)
            found.setdefault(name, {})[environment.python, one.kind] = one
    return found


def _row(
    name: str, results: _Results, columns: Sequence[_Column], ranked: Mapping[str, int]
) -> list[str]:
    shown = next(iter(results.values())).name
    versions = dict.fromkeys(one.version for one in results.values())
    cells = [
        f"[{results[column].outcome}](#{_slug(shown)})" if column in results else "-"
        for column in columns
    ]
    rank = str(ranked.get(name, "-"))
    return [rank, f"{in_table(shown)} {in_table(' / '.join(versions))}", *cells]


def _slug(heading: str) -> str:
    """The anchor that MkDocs and GitHub make of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _evidence(results: _Results, columns: Sequence[_Column]) -> Iterator[str]:
    """A section for a distribution, with a line for each Python and kind."""
    yield f"### {prose(next(iter(results.values())).name)}"
    yield "\n".join(_told(column, results[column]) for column in columns if column in results)


def _told(column: _Column, one: Result) -> str:
    python, kind = column
    cause = f", because of {prose(one.cause)}" if one.cause else ""
    used = "imported and exercised" if one.exercised else "imported"
    bad = sum(1 for attempt in one.attempts if ended_badly(attempt))
    ends = f", {bad} of which ended badly" if bad else ""
    how = f"{used} in {count(len(one.attempts), 'process', 'processes')}{ends}"
    words = "".join(f" {prose(line.rstrip('.'), _LONGEST)}." for line in lines_of(one))
    return f"- {prose(f'{python} {kind}, {one.version}')}: **{one.outcome}**{cause}; {how}.{words}"


def main() -> None:
    """Run the audits, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="audit the list")
    running.add_argument("--python", action="append", required=True)
    running.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    running.add_argument("--trials", type=int, default=5)
    reporting = commands.add_parser("report", help="write the page")
    for each in (running, reporting):
        each.add_argument("output", type=Path, help="the directory of the audits")
    asked = parser.parse_args()
    if asked.command == "run":
        run(asked.python, asked.output, asked.jobs, asked.trials)
        return
    audits = [load_audit(path.parent) for path in sorted(asked.output.glob(f"*/{AUDIT}"))]
    if not any(audit.environments for audit in audits):
        sys.exit(f"{asked.output} holds no audit")
    PAGE.write_text(page(audits))


if __name__ == "__main__":
    main()
