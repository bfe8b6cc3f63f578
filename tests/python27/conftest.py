"""The Python 2.7 of this machine, which has to be there for this suite."""

from __future__ import annotations

import os

import pytest

from wsgiproof.errors import WsgiproofError
from wsgiproof.process.account import server_account
from wsgiproof.provision.python import choose
from wsgiproof.provision.toolchain import Python

VARIABLE = "WSGIPROOF_PYTHON27"


@pytest.fixture(scope="session")
def python27() -> Python:
    """The one that is named, else one of PATH or of pyenv. Without it the suite fails."""
    found = _find()
    if isinstance(found, str):
        pytest.fail(f"{found}; name a Python 2.7 with {VARIABLE}=PATH", pytrace=False)
    return found


def _find() -> Python | str:
    """A Python 2.7 that mod_wsgi can embed, or why there is none."""
    try:
        python = choose(os.environ.get(VARIABLE, "2.7"), server_account())
    except WsgiproofError as error:
        return str(error)
    is_it = python.version.startswith("2.7.")
    return python if is_it else f"{python.path} is Python {python.version}"
