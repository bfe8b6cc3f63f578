"""uv's cache: a killed build leaves nothing in it, and the user's own choice is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsgiproof.provision.index import run_uv

BACKEND = """\
import pathlib, time
def build_sdist(directory, settings=None):
    pathlib.Path({begun!r}).touch()
    time.sleep(300)
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "slow"
backend-path = ["."]
"""
BUILD = """\
import sys
from pathlib import Path
from wsgiproof.provision.index import make_sdist
make_sdist(Path(sys.argv[1]), Path(sys.argv[1]), Path(sys.argv[1], "log"))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WSGIPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    return tmp_path / "cache" / "uv"


@pytest.fixture
def building(tmp_path: Path, cache: Path) -> subprocess.Popen[bytes]:
    """A build that never ends, in the middle of its backend."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "pyproject.toml").write_text(PYPROJECT)
    (tree / "slow.py").write_text(BACKEND.format(begun=str(tmp_path / "begun")))
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(tree)], stderr=subprocess.DEVNULL)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def unfinished(cache: Path) -> list[Path]:
    return [*cache.glob(".tmp*"), *cache.glob("*/.tmp*")]


def test_an_interrupted_build_leaves_nothing(
    cache: Path, building: subprocess.Popen[bytes]
) -> None:
    assert unfinished(cache)
    building.send_signal(signal.SIGINT)
    assert building.wait(60) != 0
    assert unfinished(cache) == []


def test_what_a_killed_build_leaves_is_removed_by_the_next_and_not_before_it_has_ended(
    cache: Path, building: subprocess.Popen[bytes]
) -> None:
    assert run_uv(["cache", "dir"], deadline=60).output.strip() == str(cache)
    assert unfinished(cache), "it was still needed"
    building.kill()
    building.wait()
    while unfinished(cache):  # its guard ends uv, and holds no lock
        run_uv(["cache", "dir"], deadline=60)
        time.sleep(0.05)


def test_the_users_own_choice_is_left_alone(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "theirs"))
    assert run_uv(["cache", "dir"], deadline=60).output.strip() == str(tmp_path / "theirs")
    assert not cache.exists()


def test_where_no_cache_can_be_made_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WSGIPROOF_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    assert run_uv(["--version"], deadline=60).returncode == 0
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - names alone
