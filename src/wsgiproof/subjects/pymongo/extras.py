"""The extras of PyMongo that cells install, as values of an axis."""

from __future__ import annotations

from collections.abc import Iterable

from wsgiproof.errors import UsageError, did_you_mean

NO_EXTRAS = "none"
"""The value of the axis that installs none."""
COMPRESSORS = ("snappy", "zstd")
"""The extras that are compressors, which a URI has to ask for by the same name."""
KNOWN = ("encryption", "ocsp", *COMPRESSORS)
"""Those of which an interpreter can say whether PyMongo uses them there."""


def parse_extras(text: str) -> tuple[str, ...]:
    """Return the names of a set, sorted: ``snappy,ocsp``, or :data:`NO_EXTRAS`.

    Raises :class:`UsageError` for a name that is not known.
    """
    if text in ("", NO_EXTRAS):
        return ()
    names = sorted({name.strip() for name in text.split(",")})
    for name in names:
        if name not in KNOWN:
            near = did_you_mean(name, KNOWN) or f"; there is {', '.join(KNOWN)}"
            raise UsageError(f"--extras {text}: '{name}' is not an extra{near}")
    return tuple(names)


def in_words(names: Iterable[str]) -> str:
    """Return the names as the value of a cell."""
    return ",".join(names) or NO_EXTRAS


def label_of(names: Iterable[str]) -> str:
    """Return the names as a part of the id of a cell; empty if there are none."""
    return "+".join(names)


def split(text: object) -> frozenset[str]:
    """Return the known extras in a text with commas, which may be anything."""
    return frozenset(str(text).split(",")) & frozenset(KNOWN)
