"""mod_wsgi before 4, which is no Python package: no index has it, and its tree has no ``setup.py``.

Its tree is packed as an sdist with metadata, so that it is found like any other one. The build is
``configure && make``, as its README says.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from wsgiproof.errors import BuildFailed, UsageError
from wsgiproof.files import read_file
from wsgiproof.process.commands import run
from wsgiproof.process.environ import COMPILE, child_environment
from wsgiproof.process.leftovers import temporary_directory
from wsgiproof.provision.archive import extract
from wsgiproof.provision.index import error_line
from wsgiproof.provision.toolchain import Httpd, Python

_CODE = "mod_wsgi.c"
_LARGEST = 4 << 20
"""Bytes of the code; that of 3.5 has 0.5 MB."""
_VERSION = re.compile(r'^#define\s+MOD_WSGI_VERSION_STRING\s+"([\d.]+)"', re.MULTILINE)
_DEADLINE = 600.0


def is_tree(directory: Path) -> bool:
    """Whether this is a source tree of such a version."""
    return all((directory / name).is_file() for name in ("configure", _CODE))


def make_archive(tree: Path, files: Iterable[Path], target: Path) -> None:
    """Pack these files of a tree as an sdist in ``target``.

    Raises :class:`UsageError` if the tree does not say which version it is.
    """
    code = read_file(tree / _CODE, _LARGEST, follow=True).decode(errors="replace")
    version = _VERSION.search(code)
    if version is None:
        raise UsageError(f"{tree / _CODE} does not say which version of mod_wsgi it is")
    name = f"mod_wsgi-{version[1]}"
    metadata = f"Metadata-Version: 1.0\nName: mod_wsgi\nVersion: {version[1]}\n".encode()
    with tarfile.open(target / f"{name}.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(f"{name}/PKG-INFO")
        member.size = len(metadata)
        archive.addfile(member, io.BytesIO(metadata))
        for path in files:
            archive.add(path, f"{name}/{path.relative_to(tree)}", recursive=False)


def compile_module(archive: Path, module: Path, python: Python, httpd: Httpd, log: Path) -> None:
    """Build the sources in an archive for ``python``, and write the module to the path ``module``.

    Raises :class:`BuildFailed` with the compiler's error.
    """
    env = child_environment(COMPILE)
    # Where the loader finds libpython; a Python need not be in one of the system's directories.
    env["LDFLAGS"] = f"-Wl,-rpath,{python.prefix}/lib {env.get('LDFLAGS', '')}".strip()
    with temporary_directory() as scratch:
        extract(archive, scratch / "src")
        (tree,) = (scratch / "src").iterdir()
        configure = ["sh", "configure", f"--with-apxs={httpd.apxs}", f"--with-python={python.path}"]
        for command in (configure, ["make"]):
            done = run(command, deadline=_DEADLINE, cwd=tree, env=env, log=log)
            if done.returncode != 0:
                raise BuildFailed(error_line(done.output))
        shutil.copyfile(tree / ".libs" / "mod_wsgi.so", module)
