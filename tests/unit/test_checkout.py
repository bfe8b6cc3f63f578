"""The commit of a checkout, by the files of git, and never more than a commit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from wsgiproof.provision.checkout import commit_of


def git(tree: Path, *arguments: str) -> str:
    settings = [
        "-c",
        "user.name=me",
        "-c",
        "user.email=me@example",
        "-c",
        "init.defaultBranch=main",
    ]
    command = ["git", *settings, *arguments]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with one commit."""
    tree = tmp_path / "driver"
    tree.mkdir()
    git(tree, "init", "-q")
    git(tree, "commit", "-q", "--allow-empty", "-m", "first")
    return tree


def test_a_branch_a_commit_and_packed_refs(tree: Path) -> None:
    first = git(tree, "rev-parse", "HEAD")
    assert commit_of(tree) == first
    git(tree, "commit", "-q", "--allow-empty", "-m", "second")
    assert commit_of(tree) == git(tree, "rev-parse", "HEAD") != first
    git(tree, "pack-refs", "--all")
    assert commit_of(tree) == git(tree, "rev-parse", "HEAD")
    git(tree, "checkout", "-q", first)
    assert commit_of(tree) == first


def test_another_worktree_of_the_same_repository(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tree, "worktree", "add", "-q", "-b", "topic", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "on a topic")
    assert commit_of(other) == git(other, "rev-parse", "HEAD") != commit_of(tree)


def test_what_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""


@pytest.mark.parametrize(
    "head",
    ["ref: refs/../../secret", "ref: refs/heads/gone", "secret", "", "\0", "ref: refs/heads/\0"],
)
def test_a_hostile_checkout_shows_nothing_of_other_files(tmp_path: Path, head: str) -> None:
    (tmp_path / "secret").write_text("a" * 40)
    (tmp_path / "driver" / ".git").mkdir(parents=True)
    (tmp_path / "driver" / ".git" / "HEAD").write_text(head)
    assert commit_of(tmp_path / "driver") == ""


def test_a_fifo_is_not_waited_for(tree: Path) -> None:
    (tree / ".git" / "HEAD").unlink()
    os.mkfifo(tree / ".git" / "HEAD")
    assert commit_of(tree) == ""
