"""What an experiment is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wsgiproof.judge.resources import Resources
from wsgiproof.provision.toolchain import Application
from wsgiproof.records.plan import LoadPlan
from wsgiproof.server.apache import Server
from wsgiproof.subjects.backend import Backend

OnProgress = Callable[[str, int, int], None]
"""Called with the phase, the steps done in it, and how many there are."""

TRIALS_AT_ONCE = 12
"""Processes in phase ``trials``, unless the subject may expect to be alone: as many as the
quick profile needs. Most of the life of a process are its imports, which all processors share, and
its end, in which it waits for threads that sleep."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is put under load, and how."""

    server: Server
    backend: Backend
    application: Application
    """It has the directory in which the processes leave their evidence."""
    app_name: str
    """The name by which the backend knows the subject."""
    workers: tuple[int, int]
    """Processes that run the application, and request threads of each."""
    workers_vary: bool
    """Whether there are fewer processes without load."""
    plan: LoadPlan
    trials_at_once: int
    """Processes that run the application in phase ``trials``, where the cell does not have more."""
    resources: Resources
    """What the judge looks at."""
    on_progress: OnProgress
