"""An audit of planted packages in interpreters with their own GIL, which need Python 3.12."""

from __future__ import annotations

from pathlib import Path

from tests.real.auditing import audited, outcomes, usable
from tests.real.planted import C, Site


def test_interpreters_with_their_own_gil(open_tmp: Path) -> None:
    site = Site(usable("3.12"), open_tmp / "own-gil")
    for name, source in C.items():
        site.add_c(name, source)
    record = audited(site, open_tmp, "--interpreter", "own-gil", "--trials", "2", code=1)
    found = outcomes(record, "own-gil")
    assert {name: one["outcome"] for name, one in found.items()} == {
        "clean": "works",
        "one_interpreter": "refuses",
        "single_phase": "refuses",
        "refuses_by_slot": "refuses",
        "crashes_at_the_end": "crashes",
    }
    assert "does not support loading in subinterpreters" in found["single_phase"]["reason"]
