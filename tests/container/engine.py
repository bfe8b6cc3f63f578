"""Docker or Podman, and the image that ``Containerfile`` makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.debian import index_environment, make_debian

CHECKOUT = Path(__file__).parents[2]
BASE = "WSGIPROOF_BASE"
"""The environment variable that names an image to build on. Without it, one is made."""
USER = 4321
"""Who runs wsgiproof in the container, where nothing names that id."""


class Engine:
    """Docker or Podman, by its command line; what it makes has names that begin with ``name``."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.name = f"wsgiproof-test-{uuid.uuid4().hex[:12]}"

    def call(self, *words: str | Path) -> None:
        """Run one command, and show what it prints."""
        subprocess.run([self.program, *map(str, words)], cwd=CHECKOUT, check=True)

    def has_container(self) -> bool:
        """Whether the container of a command line of :meth:`run` is there, alive or not."""
        listed = subprocess.run(
            [self.program, "ps", "--all", "--quiet", "--filter", f"name={self.name}"],
            check=True, capture_output=True,
        )  # fmt: skip
        return bool(listed.stdout)

    def remove_container(self) -> None:
        """Remove the container of a command line of :meth:`run`, if it is still there."""
        subprocess.run([self.program, "rm", "--force", self.name], capture_output=True, check=False)

    def run(self, image: str, *options: str, words: list[str]) -> list[str]:
        """The command line that runs wsgiproof with ``words`` in a new container."""
        return [self.program, "run", "--rm", "--name", self.name, *options, image, *words]


def find_engine() -> Engine | None:
    """The first that works, which the client of Docker alone does not."""
    for program in ("docker", "podman"):
        if shutil.which(program):
            done = subprocess.run([program, "info"], capture_output=True, check=False)
            if done.returncode == 0:
                return Engine(program)
    return None


@contextmanager
def built(engine: Engine) -> Iterator[str]:
    """The image, which is removed in the end, like a base that was made for it."""
    with _base(engine) as base:
        arguments = ["-f", "Containerfile", "-t", engine.name]
        engine.call("build", *arguments, "--build-arg", f"BASE={base}", ".")
        try:
            yield engine.name
        finally:
            engine.call("rmi", engine.name)


@contextmanager
def _base(engine: Engine) -> Iterator[str]:
    """The image that is named, else a Debian 12 with the settings of this machine."""
    if given := os.environ.get(BASE):
        yield given
        return
    name = f"{engine.name}-base"
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "debian.tar"
        make_debian("bookworm", archive, ["ca-certificates"])
        changes = [f"--change=ENV {key}={value}" for key, value in index_environment().items()]
        engine.call("import", *changes, archive, name)
    try:
        yield name
    finally:
        engine.call("rmi", name)
