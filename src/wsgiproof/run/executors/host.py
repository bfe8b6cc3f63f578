"""Answer another machine, in a process of its own on this one: what it is, and what was ordered."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

import wsgiproof
from wsgiproof.errors import WsgiproofError, describe
from wsgiproof.process.account import server_account
from wsgiproof.process.leftovers import end_run
from wsgiproof.process.signals import ignore_interrupts, interrupts_deferred
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.httpd import find_httpd
from wsgiproof.provision.python import found_pythons
from wsgiproof.provision.sent import SentFile, is_here, keep_file
from wsgiproof.run.executors.child import Channel, begin_heartbeats, take_over
from wsgiproof.run.executors.ordered_cell import Tell


class Order(Protocol):
    """What another machine wants to be done here."""

    def check(self) -> None:
        """Raise a :class:`WsgiproofError` that says what this machine lacks for it."""

    def carry_out(self, tell: Tell) -> bytes:
        """Do it, and return what comes of it.

        Raises a :class:`WsgiproofError` if this machine can't do it.
        """


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is, and what it can run."""

    facts: dict[str, str]
    reasons: tuple[str, ...]
    """Of each order that it was asked about, why it can't run it; empty if it can."""
    missing: tuple[SentFile, ...]
    """The files that it does not have yet."""


def facts() -> dict[str, str]:
    """Return what this machine is."""
    system = os.uname()
    account = server_account()
    httpd = find_httpd()
    usable = [one.python for one in found_pythons(account) if one.python and not one.problem]
    return {
        "name": system.nodename,
        "system": f"{system.sysname}-{system.release}-{system.machine}",
        "processor": _processor(),
        "processors": str(os.cpu_count() or 1),
        "user": account.name,
        "apache": httpd.version if httpd else "",
        "mpms": " ".join(httpd.mpms) if httpd else "",
        "pythons": " ".join(f"{one.version}{'t' * one.free_threaded}" for one in usable),
        "wsgiproof": wsgiproof.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def survey(orders: Sequence[Order], files: Sequence[SentFile]) -> Survey:
    """Return what this machine is, which orders it can't carry out, and which files it lacks."""
    reasons = tuple(_why_not(order) for order in orders)
    missing = tuple(file for file in files if not is_here(file, Cache()))
    return Survey(facts=facts(), reasons=reasons, missing=missing)


def _why_not(order: Order) -> str:
    try:
        order.check()
    except WsgiproofError as error:
        return str(error)
    except OSError as error:
        return describe(error)
    return ""


def serve_host(descriptor: int, parent: int) -> None:
    """Answer one request of the parent, which is a worker of Dask, and end.

    This process has a run of its own. Whatever it has started is ended with it.
    """
    channel = take_over(descriptor, parent)
    if channel is None:
        return
    os.umask(0o022)  # as the command's, whoever started the worker
    with suppress(KeyboardInterrupt, ConnectionError, EOFError):
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            kind, content = channel.wait()
            begin_heartbeats(channel)
            channel.send(_answer(kind, content, channel))
        finally:
            with interrupts_deferred():
                end_run()
                ignore_interrupts()


def _answer(kind: str, content: Any, channel: Channel) -> tuple[str, Any]:
    try:
        if kind == "survey":
            return "done", survey(*content)
        if kind == "store":
            file, sent = content
            keep_file(file, sent, Cache())
            return "done", None
        return "done", content.carry_out(lambda event, told: channel.send((event, told)))
    except WsgiproofError as error:
        return "failed", str(error)
    except OSError as error:
        return "failed", describe(error)
