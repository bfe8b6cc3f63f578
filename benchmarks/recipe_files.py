"""The files of PyMongo's own mod_wsgi test (the recipe): fetched when they are needed, as its sdist
has them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

FOLDER = Path("test", "mod_wsgi_test")
"""Where they are in PyMongo's tree."""


def fetch(version: str, directory: Path, sdist: Path | None = None) -> Path:
    """Unpack the sdist of a version of PyMongo in ``directory``, and return the tree.

    ``sdist`` is an archive or a tree that is there already; without it, pip downloads the archive.
    """
    if sdist is not None and sdist.is_dir():
        return sdist
    if sdist is None:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
             "pymongo", "--dest", str(directory), f"pymongo=={version}"],
            check=True,
        )  # fmt: skip
        (sdist,) = directory.glob("pymongo-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    (tree,) = (one.parent.parent for one in directory.glob(f"*/{FOLDER}"))
    return tree.resolve()
