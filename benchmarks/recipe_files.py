"""The files of PyMongo's own mod_wsgi test (the recipe): fetched when they are needed, as its sdist
has them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

_FOLDER = Path("test", "mod_wsgi_test")


def fetch(version: str, directory: Path, sdist: Path | None = None) -> Path:
    """Return the directory of the recipe in the sdist of a version of PyMongo.

    It is unpacked in ``directory``. ``sdist`` is the archive, or its tree, that is there already;
    without it, pip downloads the archive.
    """
    if sdist is not None and sdist.is_dir():
        return sdist / _FOLDER
    if sdist is None:
        # Its metadata is made by its own build system, of which no source is needed.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--no-binary", "pymongo", "--dest", str(directory)]
        subprocess.run([*pip, f"pymongo=={version}"], check=True)
        (sdist,) = directory.glob("pymongo-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    (found,) = directory.glob(f"*/{_FOLDER}")
    return found.resolve()


def client(recipe: Path) -> Path:
    """Return its load client."""
    return recipe / "test_client.py"


def application(recipe: Path, uri: str, database: str) -> str:
    """Return the text of its WSGI script, with a deployment of ours in place of the one on the
    default port, and the PyMongo that is installed in place of its own tree."""
    text = (recipe / "mod_wsgi_test.py").read_text()
    for before, after in (
        ("MongoClient()", f"MongoClient({uri!r})"),
        ("client.test.", f"client[{database!r}]."),
        ("sys.path.insert(0, repository_path)", ""),
    ):
        if before not in text:
            raise ValueError(f"the recipe's application has no '{before}' any more")
        text = text.replace(before, after)
    return text
