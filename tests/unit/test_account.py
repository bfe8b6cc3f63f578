"""The user who runs wsgiproof may have no entry in the user database, as in many containers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NOBODY_KNOWS = 54321
BECOME = f"""
import os, sys
from wsgiproof import files
from wsgiproof.errors import PrerequisiteMissing
from wsgiproof.process.account import server_account

os.setgroups([])
os.setresgid({NOBODY_KNOWS}, {NOBODY_KNOWS}, {NOBODY_KNOWS})
os.setresuid({NOBODY_KNOWS}, {NOBODY_KNOWS}, {NOBODY_KNOWS})
"""


def said(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", BECOME + code]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    kept |= environment
    if not environment:
        kept.pop("HOME", None)
    kept.pop("WSGIPROOF_CACHE", None)
    return subprocess.run(command, check=True, capture_output=True, text=True, env=kept).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without an entry")
class TestWithoutAnEntry:
    def test_ids_are_the_names(self) -> None:
        account = said("print(server_account().name, server_account().group)")
        assert account.split() == [str(NOBODY_KNOWS)] * 2

    def test_a_home_of_the_environment_is_enough(self) -> None:
        assert said("print(files.cache_root())", HOME="/tmp/x") == "/tmp/x/.cache/wsgiproof\n"

    def test_without_a_home_one_line_says_what_to_do(self) -> None:
        line = said(
            "try:\n    files.cache_root()\nexcept PrerequisiteMissing as error:\n    print(error)"
        )
        assert line == (
            f"the user with the id {NOBODY_KNOWS} has no home directory: set HOME to a directory "
            "that it can write to\n"
        )
