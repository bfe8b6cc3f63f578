"""How a load went over time, and that long ones stay small."""

from __future__ import annotations

from wsgiproof.load.timeline import LoadTimelineRecorder


def test_each_request_counts_in_the_second_in_which_it_ended() -> None:
    timeline = LoadTimelineRecorder()
    for ended, seconds in ((100.0, 0.010), (100.9, 0.020), (102.5, 0.5)):
        timeline.add(ended, seconds, answered=True, failed=seconds == 0.5)
    recorded = timeline.timeline()
    assert recorded is not None
    assert (recorded.started, recorded.width) == (100.0, 1)
    assert recorded.requests == (2, 0, 1)
    assert recorded.failed == (0, 0, 1)
    assert recorded.longest == (20_000, 0, 500_000)
    assert recorded.p50[0] == 10_047  # the top of its bucket, within 0.8 %
    assert recorded.p99[2] == 500_000


def test_the_time_of_a_request_without_an_answer_does_not_count() -> None:
    timeline = LoadTimelineRecorder()
    timeline.add(1.0, 30.0, answered=False, failed=True)
    recorded = timeline.timeline()
    assert recorded is not None
    assert (recorded.requests, recorded.failed, recorded.longest) == ((1,), (1,), (0,))


def test_a_long_load_has_wider_spans_and_loses_nothing() -> None:
    timeline = LoadTimelineRecorder()
    for second in range(1000):
        timeline.add(float(second), second / 1e3, answered=True, failed=second % 10 == 0)
    recorded = timeline.timeline()
    assert recorded is not None
    assert recorded.width == 4
    assert set(recorded.requests) == {4}
    assert len(recorded.requests) == 250
    assert (sum(recorded.requests), sum(recorded.failed)) == (1000, 100)
    assert recorded.longest[-1] == 999_000


def test_without_a_request_there_is_no_timeline() -> None:
    assert LoadTimelineRecorder().timeline() is None
