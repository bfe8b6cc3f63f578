"""Makes the application, in an order that keeps the evidence if a step fails."""

from __future__ import absolute_import

from . import faults, probe, settings


def make():
    """Return the WSGI application.

    The script has to call it, not a module that is being imported: Python 2 holds its import lock
    then, and the subject's threads, which import too, would never connect.
    """
    chosen = settings.load()
    # The exit handler that is registered first is called last.
    probe.record_leftover_threads(chosen["evidence"])
    probe.record_crashes(chosen["evidence"])
    probe.keep_cores_apart(chosen["evidence"], chosen["core_descriptor"])
    faults.named(chosen["fault"], chosen["fault_options"]).before_import()

    # The subject is imported only now: an import that crashes has to leave its stacks.
    from .middleware import Agent

    return Agent(chosen, _make_application)


def _make_application(chosen):
    """Return the tested application: the user's own one, or the built-in one."""
    if chosen["app"] is not None:
        from .user_app import UserApplication

        return UserApplication(chosen)
    from .builtin_app import BuiltInApplication

    return BuiltInApplication(chosen)
