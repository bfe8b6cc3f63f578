"""Derive injections from a seed: which kind, which variant, which moment.

Injection N of a seed does not depend on which others are carried out, so it can be repeated alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from types import ModuleType

from tests.torture.kinds import KINDS
from tests.torture.outcome import Injection

_BLOCK = 100
"""The number of consecutive injections in which each kind occurs as often as its weight says, in
random order."""


def available() -> dict[str, ModuleType]:
    """Return the kinds that this user can inject on this machine."""
    return {name: kind for name, kind in KINDS.items() if not kind.missing()}


def injection(seed: int, number: int, only: str = "") -> Injection:
    """Return injection ``number`` (from 1) of a seed; with ``only``, all are of that kind."""
    if only:
        kind, turn = only, number - 1
    else:
        kind, turn = _kind_of(seed, number)
    rng = random.Random(f"{seed}/{kind}/{turn}")
    variants = KINDS[kind].VARIANTS
    variant = _in_turn(seed, kind, variants, turn)
    return Injection(number=number, kind=kind, details=KINDS[kind].draw(variant, rng))


def injections(seed: int, only: str = "") -> Iterator[Injection]:
    """Yield all injections of a seed; endless."""
    number = 0
    while True:
        number += 1
        yield injection(seed, number, only)


def _kind_of(seed: int, number: int) -> tuple[str, int]:
    """Return the kind of an injection, and the number of earlier injections of that kind."""
    kinds = available()
    share = _BLOCK / sum(kind.WEIGHT for kind in kinds.values())
    once = [name for name, kind in kinds.items() for _ in range(max(1, round(kind.WEIGHT * share)))]
    block, place = divmod(number - 1, len(once))
    order = list(once)
    random.Random(f"{seed}/kinds/{block}").shuffle(order)
    kind = order[place]
    return kind, block * once.count(kind) + order[:place].count(kind)


def _in_turn(seed: int, kind: str, variants: Sequence[object], turn: int) -> object:
    """Return the next variant: each occurs once, then each once more in another order."""
    cycle, place = divmod(turn, len(variants))
    order = list(variants)
    random.Random(f"{seed}/{kind}/variants/{cycle}").shuffle(order)
    return order[place]
