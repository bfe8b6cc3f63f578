"""The kinds of faults, one module for each.

Each module has ``WEIGHT`` (how many of a hundred injections), ``VARIANTS`` (each is drawn once
before one is drawn again), ``missing()`` (why it can't be injected here, or an empty string),
``draw(variant, rng)`` (the details of one injection, from the seed) and ``inject(box, details)``.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

KINDS: dict[str, ModuleType] = {
    module.name: import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)
}
