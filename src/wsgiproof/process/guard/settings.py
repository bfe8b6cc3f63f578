"""What a guard is told by its owner, in one JSON object."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

CORE_DESCRIPTOR = 3
"""The descriptor of the directory that a process which crashes changes to, for its core file. Each
process may replace it by a directory of its own."""

LIMITS = {
    "processor": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "processes": resource.RLIMIT_NPROC,
    "file": resource.RLIMIT_FSIZE,
}
"""The names of limits: seconds, bytes, processes and threads of the user, bytes of a file."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the command of a guard runs, and what ends with it."""

    environment: Mapping[str, str]
    """The whole environment of the command."""
    cwd: str | None = None
    remove: Sequence[str] = ()
    """The directories that are removed if the owner ends before the command."""
    core: int | None = None
    """The largest core file that the command and its descendants may leave, in bytes."""
    core_directory: str | None = None
    """The directory that the command gets open, as :data:`CORE_DESCRIPTOR`."""
    cgroup: str | None = None
    """The control group that the command runs in."""
    lock: int | None = None
    """A descriptor with a lock of the run (flock(2)), which the command must not inherit."""
    user: Sequence[int] | None = None
    """The uid and gid that the command runs as; None: those of the guard."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Resource limits of the command, by the names in :data:`LIMITS`; see setrlimit(2)."""
    confine: str | None = None
    """The only directory in which the command can write, where the kernel allows that."""
    private: Mapping[str, str] = field(default_factory=dict)
    """The directory that the command has in place of each of these, where the kernel allows it."""
    visible: Sequence[str] = ()
    """Directories below these places that it sees nevertheless."""

    def encode(self) -> bytes:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Settings:
        """Return what :meth:`encode` made a line of."""
        return cls(**json.loads(line))
