"""What the experiment asks of the code inside, in a header that only this host can write.

The other side is ``inside/commands.py``, which says what each command means.
"""

from __future__ import annotations

from typing import Literal

from wsgiproof.load.target import Target

_HEADER = "X-Wsgiproof"


class Commands:
    """Makes requests that carry commands for one server, whose ``secret`` it has."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def on(
        self,
        target: Target,
        *,
        name: str = "",
        until: float | None = None,
        occupy: float | None = None,
        memory: Literal[1, 2] | None = None,
        object_growth: Literal["begin", "end"] | None = None,
    ) -> Target:
        """``target`` with these commands.

        ``name`` is what the request is called in its slot and its response, in lower-case letters
        and digits. ``until`` is CLOCK_MONOTONIC seconds, and ``occupy`` is seconds.
        """
        words = [self._secret]
        if name:
            words.append(f"name={name}")
        if until is not None:
            words.append(f"until={until:.6f}")
        if occupy is not None:
            words.append(f"occupy={occupy:g}")
        if memory is not None:
            words.append(f"memory={memory}")
        if object_growth is not None:
            words.append(f"object_growth={object_growth}")
        return target.with_header(_HEADER, " ".join(words), label=name)
