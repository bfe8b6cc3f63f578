"""The kinds of faults, a module each.

Each has ``WEIGHT`` (how many of a hundred injections), ``VARIANTS`` (each is drawn once before one
is drawn again), ``missing()`` (why it can't be injected here, or nothing), ``draw(variant, rng)``
(the details of one, from the seed) and ``inject(box, details)``.
"""

from __future__ import annotations

from types import ModuleType

from tests.torture.kinds import (
    builds,
    caches,
    disks,
    doubles,
    environment,
    hostile,
    jobs,
    ports,
    records,
    signals,
    strangers,
)

KINDS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        builds,
        caches,
        disks,
        doubles,
        environment,
        hostile,
        jobs,
        ports,
        records,
        signals,
        strangers,
    )
}
