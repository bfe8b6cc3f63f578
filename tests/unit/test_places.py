"""Directories that take the place of shared ones, made for real."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from wsgiproof.server.places import private_places


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory like ``/tmp``, in another one that only this user can write to."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    directory.chmod(0o1777)
    return directory


def test_a_place_is_replaced_by_an_empty_one_with_its_owner_and_mode(place: Path) -> None:
    run = place / "deep" / "run"
    run.mkdir(parents=True)
    run.parent.chmod(0o710)
    (run / "file").touch()
    with private_places([run, place.parent / "elsewhere"], places=[place]) as private:
        own = private.directories[place]
        assert (own.stat().st_uid, own.stat().st_gid) == (place.stat().st_uid, place.stat().st_gid)
        assert stat.S_IMODE(own.stat().st_mode) == 0o1777
        assert stat.S_IMODE((own / "deep").stat().st_mode) == 0o710
        assert list((own / "deep" / "run").iterdir()) == []
        assert private.visible == [run]
        assert own.stat().st_dev == place.stat().st_dev
        assert stat.S_IMODE(own.parent.stat().st_mode) == 0o700, "nobody else gets there"
    assert [path.name for path in place.iterdir()] == ["deep"], "it is removed"


def test_a_place_with_a_file_that_is_used_stays_shared(place: Path) -> None:
    (place.parent / "link").symlink_to(place / "shop")
    for used in (place / "shop" / "wsgi.py", place.parent / "link" / "wsgi.py", place):
        with private_places([], [used], [place]) as private:
            assert private.directories == {}
    with private_places([], [place.parent / "tmpfile"], [place]) as private:
        assert list(private.directories) == [place]


def test_a_place_that_is_missing_a_link_or_not_safe_stays_shared(place: Path) -> None:
    place.chmod(0o777)  # not sticky
    link = place.parent / "linked"
    link.symlink_to(place.parent)
    with private_places([], places=[place, link, place.parent / "missing"]) as private:
        assert private.directories == {}
