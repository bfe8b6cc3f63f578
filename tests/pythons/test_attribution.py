"""What the findings of a changed PyMongo name: its source archive, with one line removed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from tests.pythons.test_pythons import run

RELEASED = "    Py_DECREF(encoded_pattern);\n\n    flags[0] = 0;\n"
"""Where the encoder of regular expressions of ``_cbsonmodule.c`` is done with the pattern."""


def changed(directory: Path, file: str, old: str, new: str) -> Path:
    """Return the source of PyMongo in which ``file`` has ``new`` where it had ``old``."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:",
         "pymongo==4.20.0", "--dest", str(directory)],
        check=True,
    )  # fmt: skip
    (archive,) = directory.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(directory, filter="data")
    tree = directory / "pymongo-4.20.0"
    source = (tree / file).read_text()
    assert source.count(old) == 1
    (tree / file).write_text(source.replace(old, new))
    return tree


def test_a_reference_that_an_encoder_drops_names_the_type(tmp_path: Path) -> None:
    tree = changed(tmp_path, "bson/_cbsonmodule.c", RELEASED, "    flags[0] = 0;\n")
    options = ["--python", "3.11", "--mod-wsgi", "5.0.2", "--topology", "none", "--phases", "none"]
    (cell,) = run(tmp_path / "out", *options, "--pymongo", str(tree)).values()
    (finding,) = (one for one in cell["findings"] if one["check"] == "memory")
    assert "each 'encode regex" in finding["seen"]
    assert "decode" not in finding["seen"]
    assert "string" not in finding["seen"]
