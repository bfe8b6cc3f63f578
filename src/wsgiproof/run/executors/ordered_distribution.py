"""A distribution that another machine audits, and that is tried on this one."""

from __future__ import annotations

import msgspec

from wsgiproof.audit.elsewhere import Lot, try_here
from wsgiproof.process.account import server_account
from wsgiproof.process.leftovers import safe_parent
from wsgiproof.provision.python import python_like
from wsgiproof.provision.toolchain import Python
from wsgiproof.records.audit import Distribution
from wsgiproof.run.executors.ordered_cell import Tell


class DistributionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution to try here: an :class:`wsgiproof.run.executors.host.Order`."""

    lot: Lot
    distribution: Distribution

    def check(self) -> None:
        """Raise a :class:`wsgiproof.errors.WsgiproofError` if this machine has no such Python."""
        safe_parent()
        self._python()

    def carry_out(self, tell: Tell) -> bytes:
        """Try it, and return what it did, as JSON."""
        return msgspec.json.encode(try_here(self.lot, self._python(), self.distribution))

    def _python(self) -> Python:
        return python_like(self.lot.python, server_account())
