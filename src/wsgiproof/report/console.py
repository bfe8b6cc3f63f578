"""The console that everything for people is printed on: no text of others steers a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment


class SafeConsole(Console):
    """A console on which a character is either shown or a ``?``; only what rich itself makes moves
    the cursor or sets a colour."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich renders it, with the text of each segment made safe."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment("".join(map(_shown, segment.text)), segment.style)


def _shown(char: str) -> str:
    return char if char.isprintable() or char == "\n" else "?"
