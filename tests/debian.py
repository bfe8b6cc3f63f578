"""Making a Debian: a directory or an archive, with the packages and settings of this machine."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""Where a Debian with the package ``ca-certificates`` has the authorities that it trusts."""
ALONE = [
    *("setpriv", "--pdeathsig", "KILL"),  # also if this process is killed
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
]
"""The beginning of a command line that leaves no process and no mount behind."""
_PASSED = re.compile(r"(http|https|all|no)_proxy|(pip|uv)_\w*index\w*", re.IGNORECASE)
"""Environment variables that say how the package index is reached."""


def make_debian(suite: str, target: Path, packages: Sequence[str]) -> None:
    """Make a Debian with these packages, ``ca-certificates`` among them: an archive if the target's
    name ends with ``.tar``, else a directory. It trusts the authorities that this machine trusts.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
        settings.write(output("apt-config", "dump", "Acquire"))  # proxies, among others
        settings.flush()
        subprocess.run(
            [*ALONE, "mmdebstrap", "--variant=minbase", f"--aptopt={settings.name}",
             f"--include={','.join(packages)}", f"--customize-hook=upload {authorities()} {BUNDLE}",
             suite, str(target), *_mirror()],
            check=True,
        )  # fmt: skip


def index_environment() -> dict[str, str]:
    """The environment variables with which such a Debian reaches the package index."""
    passed = {name: os.environ[name] for name in os.environ if _PASSED.fullmatch(name)}
    return {**passed, "SSL_CERT_FILE": BUNDLE, "PIP_CERT": BUNDLE}


def authorities() -> str:
    """The file with the authorities that this machine trusts."""
    return ssl.get_default_verify_paths().cafile or BUNDLE


def _mirror() -> list[str]:
    """The mirror of Debian that this machine uses; if it has none, the default of mmdebstrap."""
    repositories = output(
        "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"
    ).split()
    return [uri for uri in repositories if urlsplit(uri).path.strip("/") == "debian"][:1]


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
