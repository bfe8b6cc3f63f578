"""What a distribution does in interpreters of a kind, from what its processes did.

How a process ended is certain. What it wrote is a claim of code that nobody has looked at, so it
can only be about the distribution itself: each one has processes of its own. A distribution is
compared with itself in the main interpreter, which is the control, and with the standard library
alone in the same kind, which is the baseline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from signal import SIGKILL, SIGXCPU

import msgspec

from wsgiproof.errors import ExitCode
from wsgiproof.judge.finding import count, in_words, mebibytes, signal_name, some
from wsgiproof.judge.process_ends import rate_of
from wsgiproof.records.audit import (
    FAILURES,
    Attempt,
    Distribution,
    Environment,
    Failure,
    Outcome,
    Result,
    Search,
    Snapshot,
    Stage,
    StandardFailure,
)
from wsgiproof.records.cell import InterpreterKind

STANDARD_LIBRARY = "the standard library"
"""The cause where a module of it fails alone."""
_AT_THE_END = (Stage.ENDING, Stage.FINISHED)
_FALSE = {"False", "None", "0", "''"}
_MOST_MORE = 2
"""Exceptions that are reported beside the first one, at most."""
_MOST_LOST = 8
"""Names of missing things that are reported, at most."""
_GIL_ENABLED = re.compile(r"\(GIL\) has been enabled to load module '([^']+)'")
"""The warning of CPython."""
_WORTH_A_NOTE = 1 << 20
"""Bytes that an interpreter leaves when it ends, from which on that is reported."""
_WARNING = 120
"""Characters of a warning."""
Owner = Callable[[str], str]
"""From the name of a module to the distribution that installs it; empty if none does."""


def owners(distributions: Iterable[Distribution]) -> Owner:
    """Return the function from a module to its distribution, by the longest name that fits."""
    known = {
        module: one.name for one in distributions for module in (*one.modules, *one.extensions)
    }

    def owner(module: str) -> str:
        while module and module not in known:
            module = module.rpartition(".")[0]
        return known.get(module, "")

    return owner


def ended_badly(attempt: Attempt) -> str:
    """Return how a process ended that did not end well, in words; empty if it did."""
    if attempt.hung:
        return f"was still running after {attempt.seconds:.0f} s"
    if attempt.over:
        return f"was killed: it used more than {attempt.over}"
    if attempt.signal is not None:
        return f"died of {signal_name(attempt.signal)}"
    if attempt.threads and attempt.stage is Stage.ENDING and not attempt.exit:
        return ""
    if attempt.stage is not Stage.FINISHED or attempt.exit:
        code = "an unknown status" if attempt.exit is None else f"exit code {attempt.exit}"
        return f"ended with {code}"
    return ""


def judge_distribution(
    distribution: Distribution,
    kind: InterpreterKind,
    attempts: Sequence[Attempt],
    control: Sequence[Attempt],
    baseline: Sequence[StandardFailure],
    owner: Owner,
    *,
    exercise: bool,
    leak_limit: int,
) -> Result:
    """Return the outcome of a distribution in interpreters of a kind.

    ``control`` are its processes with the main interpreter only; empty for the judgement of those
    themselves. ``baseline`` are the modules of the standard library that fail alone in this kind.
    ``exercise`` says whether there is one. ``leak_limit`` are the bytes of memory that an
    interpreter may leave when it ends.
    """
    case = _Case(distribution, kind, attempts, control, baseline, owner, leak_limit)
    outcome, reason, cause = case.decide()
    exercised = exercise and not any(
        one.stage is Stage.EXERCISE for attempt in control for one in attempt.failures
    )
    return Result(
        name=distribution.name,
        version=distribution.version,
        kind=kind,
        outcome=outcome,
        reason=reason,
        cause=cause,
        exercised=exercised,
        ends=case.ends(),
        notes=tuple(case.notes()),
        attempts=tuple(msgspec.structs.replace(one, snapshots=()) for one in attempts),
    )


class _Case:
    """One distribution in one kind of interpreters."""

    def __init__(
        self,
        distribution: Distribution,
        kind: InterpreterKind,
        attempts: Sequence[Attempt],
        control: Sequence[Attempt],
        baseline: Sequence[StandardFailure],
        owner: Owner,
        leak_limit: int,
    ) -> None:
        self._distribution = distribution
        self._kind = kind
        self._every = (*control, *attempts)
        self._attempts = [one for one in attempts if not one.in_turn]
        self._in_turn = next((one for one in attempts if one.in_turn), None)
        """The process that made and ended interpreters in turn. mod_wsgi does not do that, so what
        else fails there is only noted."""
        self._control = control
        self._baseline = baseline
        self._owner = owner
        self._leak_limit = leak_limit

    def decide(self) -> tuple[Outcome, str, str]:
        """Return the outcome, what happened, and whose fault it is if it is not its own."""
        if not self._distribution.modules and not self._distribution.extensions:
            return Outcome.UNKNOWN, "its metadata names nothing that can be imported", ""
        if lost := next((one.lost for one in self._every if one.lost), ""):
            return Outcome.UNKNOWN, lost, ""
        if why := self._fails_in_main():
            return Outcome.UNKNOWN, f"fails in main too: {why}", ""
        if not self._attempts:
            return Outcome.UNKNOWN, "it was not tried", ""
        ends = self._ends()
        if ends and ends[2] != STANDARD_LIBRARY:
            return ends
        # An end that is not its own fault does not hide what is.
        for rule in (self._exceptions, self._gil, self._values, self._losses, self._leak):
            if found := rule():
                return found
        why = self._why_unknown()
        return ends or ((Outcome.UNKNOWN, why, "") if why else (Outcome.WORKS, "", ""))

    def _why_unknown(self) -> str:
        """What is missing to say that it works; empty if nothing is."""
        if threads := sorted({name for one in self._attempts for name in one.threads}):
            why = "its threads do not end, and without Apache an interpreter can't be ended then"
            return f"{why}: {some(threads)}"
        if self._kind is InterpreterKind.FREE_THREADED and not all(a.gil for a in self._attempts):
            return "this Python does not say whether the GIL was turned on"
        if self._in_turn and not _left_by_each(self._in_turn):
            if _ended_by_a_limit(self._in_turn):
                return f"{self._fails_in_turn()}, where interpreters were made and ended in turn"
            if not self._fails_in_turn():
                return "what its interpreters leave in memory when they end was not seen"
        main = next((one for one in self._known() if one.stage is Stage.IMPORT), None)
        return f"{main.module} fails in main too: {main.error}" if main else ""

    def ends(self) -> str:
        """Return how often processes crashed at their end; empty if none came so far."""
        ends = [
            one
            for one in self._attempts
            if one.stage in _AT_THE_END and not (one.lost or one.threads)
        ]
        crashed = [one for one in ends if ended_badly(one) and not one.hung and not one.over]
        return rate_of(len(crashed), len(ends), "crashed") if ends else ""

    def notes(self) -> list[str]:
        """Return what else there is to know."""
        notes = []
        for one in self._known():
            if one.stage is Stage.EXERCISE:
                notes.append(f"the exercise fails in the main interpreter: {one.error}")
        main = self._control or self._attempts
        failed = main[0].failures if main and main[0].kind is InterpreterKind.MAIN else ()
        alone = [one.module for one in failed if one.stage is Stage.EXTENSION]
        if alone:
            why = "not judged, since the main interpreter can't import them alone"
            notes.append(f"{why}: {some(alone)}")
        notes += self._more()
        if why := self._fails_in_turn():
            where = "where interpreters are made and end in turn, which mod_wsgi does not do"
            notes.append(f"{where}: {why}")
        leaves = self._leaves()
        if _WORTH_A_NOTE <= leaves < self._leak_limit:
            notes.append(_each_leaves(leaves))
        left = {name for one in (*self._control, *self._attempts) for name in one.left}
        if left:
            notes.append(f"it left processes running, which were killed: {some(sorted(left))}")
        said = {text for one in self._attempts for s in one.snapshots for text in s.warnings}
        said -= {text for one in self._control for s in one.snapshots for text in s.warnings}
        if said and self._control:
            cut = sorted(text[:_WARNING] for text in said)
            notes.append(f"warnings that the main interpreter does not give: {some(cut)}")
        return notes

    def _more(self) -> list[str]:
        """What else fails, where the first of it is the reason."""
        if not self._control:
            return []
        raised = self._raised()
        told = {one.error for found in [*raised.values()][:1] for _, one in found}
        notes = []
        for (stage, _), found in [*raised.items()][1:]:
            # Where an import has failed, the exercise can do nothing else.
            if stage is not Stage.EXERCISE and not told.issuperset(one.error for _, one in found):
                notes.append(self._told(found))
                told |= {one.error for _, one in found}
        if any(error.startswith("ImportError") for error in told):
            return notes[:_MOST_MORE]
        return [*notes[:_MOST_MORE], *self._hidden()[:_MOST_MORE]]

    def _hidden(self) -> list[str]:
        """The exceptions that were caught where something is silently done without."""
        lost = {name for _, name in self._lost_modules()}
        found = {
            f"the import of {one.module} raises {one.error}"
            for attempt in self._attempts
            for one in attempt.failures
            if one.stage is Stage.EXTENSION and one.module in lost
        }
        return sorted(found)

    def _fails_in_main(self) -> str:
        for attempt in self._control:
            if how := ended_badly(attempt):
                return _sentence(attempt, how)
        imports = [one for one in self._known() if one.stage is Stage.IMPORT]
        if imports and {one.module for one in imports} >= set(self._distribution.modules):
            return imports[0].error
        return ""

    def _known(self) -> tuple[Failure, ...]:
        """The exceptions of the main interpreter."""
        return self._control[0].failures if self._control else ()

    def _ends(self) -> tuple[Outcome, str, str] | None:
        """What the ends of the processes show; what has ended early outweighs the rest."""
        bad = [one for one in self._attempts if ended_badly(one)]
        if not bad:
            return None
        first = min(bad, key=lambda one: (one.stage in _AT_THE_END, one.hung))
        reason = _sentence(first, ended_badly(first))
        if len(self._attempts) > 1:
            same = sum(one.stage is first.stage and one.hung == first.hung for one in bad)
            reason += f" ({same} of {count(len(self._attempts), 'process', 'processes')})"
        if _ended_by_a_limit(first) or first.stage is Stage.DEPENDENCY:
            return Outcome.UNKNOWN, reason, ""
        if alone := self._standard_crash():
            cause = f"{reason}; {alone} alone does so, too"
            return Outcome.UNKNOWN, cause, STANDARD_LIBRARY
        return (Outcome.HANGS if first.hung else Outcome.CRASHES), reason, ""

    def _standard_crash(self) -> str:
        """The module of the standard library that it uses and that ends a process alone."""
        used = {name for one in self._control for s in one.snapshots for name in s.standard}
        bad = (one.module for one in self._baseline if one.ends_process)
        return next((name for name in bad if name.partition(".")[0] in used), "")

    def _exceptions(self) -> tuple[Outcome, str, str] | None:
        found = self._raised()
        if not found:
            return None
        (stage, _), raised = next(iter(found.items()))
        first = raised[0][1]
        if stage is Stage.START:
            return Outcome.UNKNOWN, f"an interpreter could not be used: {first.error}", ""
        return Outcome.REFUSES, self._told(raised), self._cause(first.deepest)

    def _gil(self) -> tuple[Outcome, str, str] | None:
        """What turned the GIL on in interpreters that should have none, by its own warning."""
        if self._kind is not InterpreterKind.FREE_THREADED:
            return None
        places = [
            (attempt, int(interpreter))
            for attempt in self._attempts
            for interpreter, enabled in attempt.gil.items()
            if enabled
        ]
        if not places:
            return None
        said = (t for a in self._attempts for s in a.snapshots for t in s.warnings)
        module = next((found[1] for text in said if (found := _GIL_ENABLED.search(text))), "")
        why = f" by the import of {module}" if module else ""
        reason = f"the GIL is turned on{_where(self._kind, places)}{why}"
        return Outcome.TAKES_GIL, reason, self._cause(module)

    def _raised(self) -> dict[tuple[Stage, str], list[tuple[Attempt, Failure]]]:
        """What raises that does not in the main interpreter, by its module, in the order of the
        stages. The extension modules that are silently done without are among the losses."""
        known = {(one.stage, one.module) for one in self._known()}
        lost = {name for _, name in self._lost_modules()}
        found: dict[tuple[Stage, str], list[tuple[Attempt, Failure]]] = {}
        for attempt in self._attempts:
            for one in attempt.failures:
                place = (one.stage, one.module)
                # In the main interpreter some can't be imported by their own names.
                main = self._kind is InterpreterKind.MAIN
                silent = one.stage is Stage.EXTENSION and (main or one.module in lost)
                if place not in known and not silent:
                    found.setdefault(place, []).append((attempt, one))
        return dict(sorted(found.items(), key=lambda one: list(Stage).index(one[0][0])))

    def _told(self, raised: Sequence[tuple[Attempt, Failure]]) -> str:
        first = raised[0][1]
        what = f"{first.module} can't be imported" if first.module else "its exercise fails"
        where = _where(self._kind, ((attempt, one.interpreter) for attempt, one in raised))
        return f"{what}{where}: {first.error}"

    def _cause(self, deepest: str) -> str:
        bad = {one.module for one in self._baseline} | {one.deepest for one in self._baseline}
        if deepest and deepest in bad:
            return f"{STANDARD_LIBRARY} ({deepest})"
        owner = self._owner(deepest)
        return owner if owner != self._distribution.name else ""

    def _values(self) -> tuple[Outcome, str, str] | None:
        if not self._control:
            return None
        right = self._control[0].values.get("0")
        for attempt in self._attempts:
            for interpreter, value in attempt.values.items():
                if right is not None and value != right:
                    where = _where(self._kind, [(attempt, int(interpreter))])
                    reason = f"its exercise gives {value}{where}, and {right} in the main one"
                    return Outcome.WRONG, reason, ""
        return None

    def _losses(self) -> tuple[Outcome, str, str] | None:
        lost = [*self._lost_modules(), *self._lost_names()]
        if not lost:
            return None
        names = list(dict.fromkeys(name for _, name in lost))  # those of modules come first
        tops = [name for name in names if name.rpartition(".")[0] not in names]
        where = _where(self._kind, (place for place, _ in lost))
        own = [name for name in tops if self._owner(name) == self._distribution.name]
        if own:
            more = f", and {len(tops) - len(own)} of what it needs" if len(tops) > len(own) else ""
            return Outcome.DEGRADES, f"missing{where}: {some(own, _MOST_LOST)}{more}", ""
        # An extension module can make others, which belong to no file.
        cause = next((owner for name in tops if (owner := self._owner(name))), "")
        return Outcome.DEGRADES, f"missing{where}: {some(tops, _MOST_LOST)}", cause

    def _leak(self) -> tuple[Outcome, str, str] | None:
        """Memory that grows with each interpreter that ends."""
        if self._in_turn is None or (leaves := self._leaves()) < self._leak_limit:
            return None
        number = self._in_turn.in_turn
        return Outcome.LEAKS, f"{_each_leaves(leaves)} ({number} were made and ended in turn)", ""

    def _leaves(self) -> int:
        """The bytes that each interpreter leaves when it ends, at least; 0 if that is not known."""
        return min(_left_by_each(self._in_turn), default=0) if self._in_turn else 0

    def _fails_in_turn(self) -> str:
        """What fails where interpreters are made and end in turn, and not in the main one."""
        if self._in_turn is None:
            return ""
        if how := ended_badly(self._in_turn):
            return _sentence(self._in_turn, how)
        known = {(one.stage, one.module) for one in self._known()}
        for one in self._in_turn.failures:
            if (one.stage, one.module) not in known:
                return f"{one.module or 'its exercise'} raises {one.error}"
        return ""

    def _lost_modules(self) -> list[tuple[tuple[Attempt, int], str]]:
        """The modules that an interpreter lacks."""
        return [
            ((attempt, snapshot.interpreter), name)
            for main, attempt, snapshot in self._compared()
            for name in sorted(set(main.modules) - set(snapshot.modules))
        ]

    def _lost_names(self) -> list[tuple[tuple[Attempt, int], str]]:
        """The names that say in an interpreter that something is not there; not those of modules
        that are not there themselves."""
        lost = []
        for main, attempt, snapshot in self._compared():
            names = {
                name
                for name, value in main.flags.items()
                if value not in _FALSE and snapshot.flags.get(name, value) in _FALSE
            }
            names |= set(main.things) & set(snapshot.nones)
            lost += [((attempt, snapshot.interpreter), name) for name in sorted(names)]
        return lost

    def _compared(self) -> list[tuple[Snapshot, Attempt, Snapshot]]:
        main = next((s for one in self._control for s in one.snapshots), None)
        if main is None:
            return []
        return [(main, one, s) for one in self._attempts for s in one.snapshots]


def _sentence(attempt: Attempt, how: str) -> str:
    return f"{how} {attempt.doing}" if attempt.doing else how


def _left_by_each(attempt: Attempt) -> list[int]:
    """The bytes by which memory grew with each interpreter after the second, which still fills
    caches; empty if some were not seen, unless the process used too much before them."""
    seen = attempt.memory
    if len(seen) < attempt.in_turn and not attempt.over:
        return []
    return [after - before for before, after in pairwise(seen[1:])]


def _each_leaves(number: int) -> str:
    return f"each interpreter that ends leaves {mebibytes(number)} of memory"


def _ended_by_a_limit(attempt: Attempt) -> bool:
    """Whether a limit of wsgiproof or of the machine ended it."""
    return bool(attempt.over) or attempt.signal in (SIGKILL, SIGXCPU)


def _where(kind: InterpreterKind, places: Iterable[tuple[Attempt, int]]) -> str:
    """Say which of the two interpreters, in the order in which they were used."""
    if kind is InterpreterKind.MAIN:
        return ""
    found = {3 - number if attempt.swapped else number for attempt, number in places}
    if found == {1, 2}:
        return " in the sub interpreters"
    return f" in the {'first' if found == {1} else 'second'} sub interpreter"


def advise(results: Sequence[Result], control: Sequence[Result], kind: InterpreterKind) -> str:
    """Return what to do about an environment, in a sentence or two."""
    of_kind = [one for one in results if one.kind is kind]
    broken = [one.name for one in of_kind if one.outcome in FAILURES]
    unknown = [
        one.name for one in of_kind if one.outcome in (Outcome.UNKNOWN, Outcome.NOT_INSTALLABLE)
    ]
    if not of_kind:
        return ""
    parts = []
    if broken:
        share = f"{count(len(broken), 'package')} of {len(of_kind)}"
        verb = "breaks" if len(broken) == 1 else "break"
        parts.append(f"{share} {verb} under {kind}: {in_words(broken)}.")
    elif not unknown:
        parts.append(f"Nothing that was tried breaks under {kind}.")
    if unknown:
        parts.append(f"Not known under {kind}: {in_words(unknown)}.")
    if broken and kind is not InterpreterKind.MAIN:
        parts.append(_about_main(control))
    return " ".join(parts)


def _about_main(control: Sequence[Result]) -> str:
    setting = "'WSGIApplicationGroup %{GLOBAL}', with one application to a process,"
    bad = [one.name for one in control if one.outcome is not Outcome.WORKS]
    if not bad:
        return f"{setting} avoids that: each of them was tried in the main interpreter, and works."
    return f"{setting} avoids that, but not all work there: {in_words(bad)} did not when tried."


def advise_release(found: Search) -> str:
    """Return which release of a distribution to take, in a sentence or two."""
    what = f"{found.name} {found.version} does not work under {found.kind}"
    if not found.works:
        if not found.tried:
            return f"{what}, and the index has no other release for this Python."
        versions = in_words([one.version for one in found.tried])
        if len(found.tried) == 1:
            return f"{what}, and neither does the other release that was tried: {versions}."
        return f"{what}, and none of {len(found.tried)} other releases that were tried: {versions}."
    told = f"{what}, and {found.works} does: it was tried"
    before = len(found.tried) - 1
    told += f", after {count(before, 'other release')} that did not." if before else "."
    if found.conflict:
        told += f" It can't be installed with the other requirements: {found.conflict}"
    return told


def exit_code(environments: Iterable[Environment]) -> ExitCode:
    """Return the exit code of an audit: what fails outweighs what is unknown."""
    outcomes = [
        one.outcome
        for environment in environments
        for one in (*environment.results, *environment.deep)
    ]
    if FAILURES.intersection(outcomes):
        return ExitCode.FINDING
    if not outcomes or any(one is not Outcome.WORKS for one in outcomes):
        return ExitCode.UNDECIDED
    return ExitCode.PASS
