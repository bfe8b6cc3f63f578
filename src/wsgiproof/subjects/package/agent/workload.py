"""A workload that does nothing: the application that uses the package is the user's."""

from __future__ import absolute_import


def identity(settings):
    """Return no fields: what is installed is said outside."""
    return {}


def fill_pools(seconds, together):
    """Do nothing, since there is no pool, once all request threads are here."""
    together()


class Workload(object):
    """Does nothing."""

    def __init__(self, settings):
        pass

    def work(self):
        """Return that nothing came out wrong."""
        return []

    def close(self):
        """Do nothing."""
