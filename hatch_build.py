"""The project's description on the package index: the README without links into the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_IMAGE = re.compile(r"!\[[^]]*\]\((?!https://)[^)]*\)\n*")
_LINK = re.compile(r"\[([^]]*)\]\((?!https://|#)[^)]*\)")


class Description(MetadataHookInterface):
    """Called by hatchling while it builds a wheel or an sdist."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = _LINK.sub(r"\1", _IMAGE.sub("", text))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
