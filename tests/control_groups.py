"""Control groups that limit something, for tests of that limit."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def limited_group(most: int) -> Path | None:
    """A control group for at most so many processes and threads; None if it can't be made."""
    for top in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        group = Path(top, f"wsgiproof-limit-{os.getpid()}")
        try:
            group.mkdir()
            (group / "pids.max").write_text(str(most))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        return group
    return None
