"""Planted faults, which wsgiproof has to find, and their negative controls, which have to pass.

The settings choose a fault by name. Faults of Apache's configuration alone are not here. If no
fault is chosen, nothing of them is imported, so that the subject is tested alone. No fault imports
the subject before :mod:`.app` does, unless that is the fault.
"""

from __future__ import absolute_import

from .faults_base import NoFault, by_name


def common():
    """Return the class of each fault that needs no particular subject, by name."""
    from . import faults_answers, faults_background, faults_leaks, faults_lifecycle, faults_remains

    found = by_name(
        faults_answers, faults_background, faults_leaks, faults_lifecycle, faults_remains
    )
    found["combined"] = Combined
    return found


class Combined(NoFault):
    """Does what several others do: ``parts`` has the name and the options of each."""

    def __init__(self, parts):
        self._parts = [named(name, options) for name, options in parts]

    def before_import(self):
        for part in self._parts:
            part.before_import()

    def at_load(self, workload):
        for part in self._parts:
            part.at_load(workload)

    def on_request(self, workload):
        for part in self._parts:
            part.on_request(workload)


def named(name, options):
    """Return the fault of this name, or one that does nothing if the name is None.

    ``options`` are its keyword arguments. Raises ValueError for an unknown name.
    """
    if name is None:
        return NoFault()
    classes = common()
    if name not in classes:
        from .subject import faults

        classes.update(faults.faults())
    if name not in classes:
        raise ValueError("no fault is named %r; there are: %s" % (name, ", ".join(sorted(classes))))
    return classes[name](**options)
