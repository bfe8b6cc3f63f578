"""Sets of options that cells add to the URI of their deployment, as values of an axis."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from wsgiproof.errors import UsageError, did_you_mean

NO_OPTIONS = "none"
"""The value of the axis that adds none."""
_KNOWN = (
    "compressors",
    "connectTimeoutMS",
    "heartbeatFrequencyMS",
    "journal",
    "localThresholdMS",
    "maxConnecting",
    "maxIdleTimeMS",
    "maxPoolSize",
    "maxStalenessSeconds",
    "minPoolSize",
    "readConcernLevel",
    "readPreference",
    "retryReads",
    "retryWrites",
    "serverMonitoringMode",
    "serverSelectionTimeoutMS",
    "socketTimeoutMS",
    "timeoutMS",
    "w",
    "waitQueueTimeoutMS",
    "wTimeoutMS",
    "zlibCompressionLevel",
)
"""Those that change neither what is connected to nor who connects, and that hold no secret."""
_BY_LOWER_CASE = {name.lower(): name for name in _KNOWN}
_VALUE = re.compile(r"[A-Za-z0-9._,-]+")
_LONGEST = 80
"""Characters of a set: it is a part of the id of a cell, which is the name of a directory."""


def parse_options(text: str) -> dict[str, str]:
    """Return the options of a set by their names, which compare without case.

    ``text`` is as in a URI (``compressors=zlib&w=majority``), or :data:`NO_OPTIONS`. Raises
    :class:`UsageError` for any other; the text is not shown, since it may hold a password.
    """
    if text in ("", NO_OPTIONS):
        return {}
    found: dict[str, str] = {}
    for name, value in _pairs(text):
        known = _BY_LOWER_CASE.get(name.lower())
        if known is None:
            if not name.isalnum():
                raise UsageError("--uri-options: a set has options of a URI only, as 'w=majority'")
            near = did_you_mean(name, _KNOWN) or f"; there is {', '.join(_KNOWN)}"
            raise UsageError(f"--uri-options: '{name}' is not an option of a set{near}")
        if known in found:
            raise UsageError(f"--uri-options: {known} is there twice")
        if not _VALUE.fullmatch(value):
            raise UsageError(f"--uri-options: '{value}' can't be a value of {known}")
        found[known] = value
    if found.get("w", "").strip("0") == "" and "w" in found:
        raise UsageError(
            "--uri-options: with w=0 nobody knows whether the application's documents were written"
        )
    if len(in_uri(found)) > _LONGEST:
        raise UsageError(f"--uri-options: a set has {_LONGEST} characters at most")
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise UsageError(
            "--uri-options: a set is as in a URI, such as 'compressors=zlib&w=majority'"
        ) from None


def in_uri(options: dict[str, str]) -> str:
    """Return the options as they are written in a URI."""
    return "&".join(f"{name}={value}" for name, value in options.items())


def compressors(options: dict[str, str]) -> list[str]:
    """Return the names of the compressors that a set asks for."""
    return [one for one in options.get("compressors", "").split(",") if one]


def label_of(options: dict[str, str]) -> str:
    """Return the options as a part of the id of a cell; empty if there are none."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", in_uri(options))


def why_not_acknowledged(options: dict[str, str], members: int) -> str:
    """Return why ``members`` can't acknowledge a write; empty if they can."""
    w = options.get("w", "")
    if w.isdigit() and int(w) > members:
        return f"w={w} takes {w} members, and there {'is one' if members == 1 else 'are three'}"
    if w and not w.isdigit() and w != "majority":
        return f"w={w} takes members with this tag, and none has a tag"
    return ""
