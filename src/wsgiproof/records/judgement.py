"""What the judge says: verdicts, findings, and what the catalog knows of them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from wsgiproof.records.known import Known


class Verdict(StrEnum):
    """The verdict on a cell or on one of its checks. Missing evidence is never a pass."""

    PASS = "pass"
    KNOWN = "known"
    """All of its findings are known and accepted."""
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    SKIPPED = "skipped"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog knows of a text in the error log, in a stack or in an answer."""

    id: str
    """The catalog entry's identifier, or a code of mod_wsgi; stable."""
    text: str
    """The first such text, or its first line."""
    where: str
    count: int = 1
    """How many lines of the error log it explains."""
    meaning: str
    versions: str
    action: str
    source: str
    """Where it is documented or was reported."""
    whose: str = ""
    """Whose bug it is, such as ``mod_wsgi``; empty if that is open, or if it is no bug."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How often something happened: a number of trials, of so many in all."""

    number: int
    total: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One problem: what was seen, what it means, what to do, and the evidence."""

    check: str
    seen: str
    meaning: str
    action: str
    evidence: tuple[str, ...] = ()
    explained: tuple[Explanation, ...] = ()
    """What the catalog knows of the evidence, each entry once."""
    rate: Rate | None = None
    """How many ends of processes it is about, of all of them; None if it is about none."""
    known: Known | None = None
    """What says that it is known; None if it fails the check."""


class RestOfLog(msgspec.Struct, frozen=True, kw_only=True):
    """What the error log holds that no finding reports. None of it fails a cell."""

    known: tuple[Explanation, ...] = ()
    unknown: tuple[str, ...] = ()
    """The first different error lines of Apache, mod_wsgi or a library that no entry matches."""
    unknown_lines: int = 0
    """How many such lines there are."""
    application_lines: int = 0
    """Lines that the application wrote and that no entry matches."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check: any verdict but ``error``, and a sentence about why."""

    check: str
    verdict: Verdict
    reason: str
