"""What of a command line goes into records."""

from __future__ import annotations

import pytest

from wsgiproof.cli.command_line import without_uris


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("--mongodb=mongodb://u:hunter2@h/", "--mongodb=URI"),
        ("--pymongo=git+https://x.org/a/b@main", "--pymongo=git+https://x.org/a/b@main"),
        ("--pymongo=git+https://u:hunter2@x.org/a", "--pymongo=URI"),
        ("https://x.org/wheels", "https://x.org/wheels"),
    ],
)
def test_only_what_may_hold_a_password_is_left_out(given: str, kept: str) -> None:
    assert without_uris(given) == kept
