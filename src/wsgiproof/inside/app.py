"""Makes the application, in the order that keeps the evidence of a failure on the way."""

from __future__ import absolute_import

from . import faults, probe, settings


def make():
    """Return the WSGI application.

    To be called by the script, not while a module is imported: Python 2 holds its import lock then,
    and the subject's threads, which import too, would never connect.
    """
    chosen = settings.load()
    # The handler that is registered first is called last.
    probe.record_leftover_threads(chosen["evidence"])
    probe.record_crashes(chosen["evidence"])
    probe.work_alone(chosen["evidence"])
    faults.named(chosen["fault"], chosen["fault_options"]).before_import()

    # Only now the subject: an import that crashes has to leave its stacks behind.
    from .responder import Responder

    return Responder(chosen)
