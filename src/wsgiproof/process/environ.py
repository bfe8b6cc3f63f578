"""The environment of a child process: only the variables that it needs, by name.

The environment of wsgiproof may contain secrets for other programs: tokens of a CI system,
passwords. Any process of the same user can read that of a child in /proc/PID/environ, and a child
may run code of the subject. So each child gets only the variables listed here.

The variables for a package index (``DOWNLOAD``) may contain its password. Only uv and pip get them;
the builds that they start can read them, as they can read ``~/.netrc``.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

BASE = ("PATH", "HOME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""For any program of this user."""

COMPILE = (
    *("CC", "CXX", "CPP", "AR", "LD", "NM", "RANLIB", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS"),
    *("LIBS", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_RUN_PATH"),
    *("PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR", "ARCHFLAGS"),
    *("GCC_EXEC_PREFIX", "COMPILER_PATH", "CCACHE_*", "SOURCE_DATE_EPOCH"),
)
"""For compilers and builds."""

DOWNLOAD = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("UV_*", "PIP_*", "NETRC", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"),
    "XDG_DATA_HOME",
)
"""For programs that use a package index."""

WORKER = (
    *("WSGIPROOF_CACHE", "XDG_RUNTIME_DIR", "MOD_WSGI_SO"),
    *("PYENV_ROOT", "CONDA_PREFIX", "MAMBA_ROOT_PREFIX"),
)
"""Besides all these, what a worker process of wsgiproof reads."""

_NEVER = ("UV_PUBLISH_*", "UV_*_TOKEN")
"""For uploads and GitHub's API, which wsgiproof does not use."""


def child_environment(*groups: tuple[str, ...]) -> dict[str, str]:
    """Return the variables of this process's environment that :data:`BASE` and ``groups`` name."""
    allowed = [pattern for group in (BASE, *groups) for pattern in group]
    return {
        name: value
        for name, value in os.environ.items()
        if _matches(name, allowed) and not _matches(name, _NEVER)
    }


def _matches(name: str, patterns: tuple[str, ...] | list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
