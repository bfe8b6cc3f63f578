"""The console for everything that people read: printed text never steers a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment


class SafeConsole(Console):
    """A console that shows each character, or a ``?`` in its place.

    Only rich itself moves the cursor or sets colours.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as rich does, with the text of each segment made safe."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.replace("\n", "").isprintable():
                yield segment
            else:
                yield Segment("".join(map(_shown, segment.text)), segment.style)


def _shown(char: str) -> str:
    return char if char.isprintable() or char == "\n" else "?"
