"""Sends commands to the code inside, in a request header that only this host can write.

``agent/protocol.py`` says what each command means.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from wsgiproof.agent import protocol
from wsgiproof.load.target import Target
from wsgiproof.server.ports import LOOPBACK


class Commands:
    """Makes requests that carry commands for one server, with the ``secret`` of that server."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._bare: dict[bytes, Target] = {}

    def target(self, url: str, counted_as: str = "") -> Target:
        """Return the target for a URL, without a command; the answer carries a report.

        With ``counted_as`` its answers count as those of that URL.
        """
        bare = Target.parse(url, address=LOOPBACK)
        if counted_as:
            bare = replace(bare, url=counted_as)
        target = bare.with_header(protocol.COMMANDS, self._secret)
        self._bare[target.request] = bare
        return target

    def on(
        self,
        target: Target,
        *,
        name: str = "",
        until: float | None = None,
        gather: int | None = None,
        together: int | None = None,
        occupy: float | None = None,
        memory: Literal[1, 2] | None = None,
        object_growth: Literal["begin", "end"] | None = None,
        socket_origins: Literal["begin", "end"] | None = None,
    ) -> Target:
        """Return a target of :meth:`target` with these commands.

        ``name`` identifies the request in its slot and its response, in lower-case letters and
        digits. ``until`` is CLOCK_MONOTONIC seconds, ``gather`` and ``together`` are numbers of
        requests, and ``occupy`` is seconds.
        """
        words = [self._secret]
        if name:
            words.append(f"name={name}")
        if until is not None:
            words.append(f"until={until:.6f}")
        if gather is not None:
            words.append(f"gather={gather}")
        if together is not None:
            words.append(f"together={together}")
        if occupy is not None:
            words.append(f"occupy={occupy:g}")
        if memory is not None:
            words.append(f"memory={memory}")
        if object_growth is not None:
            words.append(f"object_growth={object_growth}")
        if socket_origins is not None:
            words.append(f"socket_origins={socket_origins}")
        bare = self._bare[target.request]
        return bare.with_header(protocol.COMMANDS, " ".join(words), label=name)
