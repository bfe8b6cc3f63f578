"""What has become of a server at a restart."""

from __future__ import annotations

from wsgiproof.experiment.restarts import is_renewed


def test_a_server_is_renewed_when_another_process_answers() -> None:
    assert is_renewed({200: 9}, {200: 12, 300: 1}, replaced=(200, 201))
    assert not is_renewed({200: 9}, {200: 12}, replaced=(200, 201))
    assert not is_renewed({200: 9, 100: 5}, {200: 12, 100: 5}, replaced=(200, 201))


def test_a_pid_that_comes_again_is_another_process() -> None:
    assert is_renewed({100: 5, 200: 9}, {100: 6, 200: 12}, replaced=(200, 201))
