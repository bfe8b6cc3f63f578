"""The checks of counted resources, on invented records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from tests.cells import CELL, cell_with, configured
from tests.unit.factories import (
    FRONTEND,
    POINTS,
    RESOURCES,
    ROUND,
    RULES,
    SESSIONS,
    URLS,
    WORKER,
    counting,
    observed,
    outcome,
    reading,
    samples,
)
from wsgiproof.judge.growth import LEAST_SAMPLES, LEAST_STEPS
from wsgiproof.judge.leak_load import (
    certain_leak,
    growing,
    have_returned,
    leak_rates,
    more_to_decide,
    to_confirm,
    to_confirm_alone,
    to_drain,
)
from wsgiproof.judge.leaks import counted as check_of
from wsgiproof.judge.resources import total
from wsgiproof.judge.verdict import judge
from wsgiproof.records.judgement import Finding, Verdict
from wsgiproof.records.observed import (
    Attribution,
    Confirmation,
    Observed,
    ProcessSample,
    Role,
    Sample,
    SocketOrigin,
)

Values = Sequence[int | None]
Make = Callable[[int | None], ProcessSample]

BY_PROCESS: dict[str, Make] = {
    "connections": lambda value: reading(connections=value),
    "descriptors": lambda value: reading(descriptors=value),
    "threads": lambda value: reading(threads=value),
}
BY_NAME = {
    check: list(resource.by_name) for check, resource in RESOURCES.items() if resource.by_name
}
BY_SERVER = ("connections", "cursors", "sessions")
"""What the deployment counts."""


def with_series(resource: str, values: Values) -> Observed:
    """A record in which this resource of the one worker went through ``values``."""
    make = BY_PROCESS[resource]
    return observed(samples=samples([[make(value)] for value in values]))


def by_server(values: Values, name: str = "connections") -> Observed:
    rows = samples([[reading()]] * len(values))
    changed = zip(rows, values, strict=True)
    return observed(samples=tuple(counting(row, **{name: value}) for row, value in changed))


def of_workers(rows: Sequence[Sequence[ProcessSample]], processes: int) -> Observed:
    return observed(samples=samples(rows), workers=(processes, 15 // processes))


def counted(seen: Observed) -> dict[str, Verdict]:
    """Every check that did not pass, but that of memory."""
    return {
        check: verdict
        for check, verdict in outcome(seen).items()
        if check not in ("memory", "latency")  # they need more samples than most tests have
    }


def finding(seen: Observed) -> Finding:
    (only,) = judge(CELL, seen, RULES).findings
    return only


def reason(seen: Observed, check: str) -> str:
    (told,) = [one.reason for one in judge(CELL, seen, RULES).checks if one.check == check]
    return told


each_process = pytest.mark.parametrize("resource", BY_PROCESS)
each_server = pytest.mark.parametrize("resource", BY_SERVER)


def steps(*at: int, size: int = 1) -> list[int]:
    """A count that rises at these samples, and else stands still."""
    return [30 + size * sum(number >= one for one in at) for number in range(POINTS)]


LEAKS = {
    "one in each request": [30 + ROUND * number for number in range(POINTS)],
    "one in 50 requests": [30 + ROUND * number // 50 for number in range(POINTS)],
    "one in 500 requests": steps(4, 8, 12, 16, 20, 24),
    "the least that counts": steps(6, 12, 18, 24),
    "in bursts": steps(6, 12, 18, 24, size=20),
    "on top of a full pool": [60] + [100 + 3 * number for number in range(POINTS - 1)],
    "only when serial": [30] * 21 + [280, 530, 780, 1030, 1030],
    "with a dip in the middle": [30 + 10 * at - 5 * (at == 9) for at in range(POINTS)],
    "one is closed at the end": [30 + 5 * at - (at == POINTS - 1) for at in range(POINTS)],
}  # fmt: skip
NO_LEAKS = {
    "flat": steps(),
    "a pool that fills late and is then flat": [5, 20, 40, 70, 90, 99] + [100] * (POINTS - 6),
    "a step early": steps(4, size=50),
    "a step late": steps(24, size=50),
    "a client opened by each interpreter": steps(9, 16, size=3),
    "fewer steps than count": steps(8, 16, 24),
    "going down": [100 - number for number in range(POINTS)],
    "a spike": [30] * 15 + [90] + [30] * (POINTS - 16),
    "jitter": [30, 32, 31, 33, 30, 31, 33, 30, 32, 31, 30, 33, 31] * 2,
    "a spike that settles a little higher": [30] * 20 + [90, 80, 60, 40, 40, 40],
    "full, then emptied": [100] * 15 + [10] * (POINTS - 15),
    "emptied, then partly filled again": [100] * 14 + [10, 10, *[40] * (POINTS - 16)],
    "up and down, up at the end": [20 + 10 * (number % 2) for number in range(POINTS)],
}


@each_process
@pytest.mark.parametrize("values", LEAKS.values(), ids=LEAKS)
def test_a_leak_trips_the_check_of_its_resource_alone(resource: str, values: Values) -> None:
    assert outcome(with_series(resource, values)) == {resource: Verdict.FAIL}


@each_process
@pytest.mark.parametrize("values", NO_LEAKS.values(), ids=NO_LEAKS)
def test_what_does_not_grow_with_requests_is_no_leak(resource: str, values: Values) -> None:
    assert outcome(with_series(resource, values)) == {}


@each_server
@pytest.mark.parametrize("values", LEAKS.values(), ids=LEAKS)
def test_a_leak_that_only_the_server_sees_trips_its_check(resource: str, values: Values) -> None:
    assert outcome(by_server(values, resource)) == {resource: Verdict.FAIL}


@each_server
@pytest.mark.parametrize("values", NO_LEAKS.values(), ids=NO_LEAKS)
def test_the_servers_count_that_does_not_grow_is_no_leak(resource: str, values: Values) -> None:
    assert outcome(by_server(values, resource)) == {}


def test_every_counted_resource_is_tried_here() -> None:
    assert set(RESOURCES) == {*BY_PROCESS, *BY_SERVER, *BY_NAME}


@pytest.mark.parametrize("points", [14, 15, 16, 17])
def test_going_up_and_down_is_no_leak_however_many_rounds(points: int) -> None:
    values = [20 + 10 * (number % 2) for number in range(points)]
    assert counted(with_series("descriptors", values)) == {}


# What is told


def test_a_leak_is_told_with_its_rate_and_its_series() -> None:
    told = finding(with_series("descriptors", [30 + 5 * number for number in range(POINTS - 1)]))
    assert told.seen == (
        "120 descriptors leaked in 3,000 requests, one in 25 requests (95 %: 21 to 30)"
    )
    assert told.evidence == (
        f"descriptors of pid {WORKER}: "
        + ", ".join(f"{30 + 5 * number}@{ROUND * (number + 1)}" for number in range(POINTS - 1)),
    )


def test_a_leak_of_descriptors_is_told_by_their_kind() -> None:
    plain = [reading(descriptors=30 + number) for number in range(POINTS)]
    rows = [
        [msgspec.structs.replace(one, kinds={"file": number, "pipe": 8})]
        for number, one in enumerate(plain)
    ]
    assert finding(observed(samples=samples(rows))).evidence[0] == "by kind: file +25"


def test_the_interpreter_that_leaks_is_told_where_it_is_known() -> None:
    seen = with_series("threads", LEAKS["one in 50 requests"])

    def attributed(*units: int) -> str:
        told = tuple(
            Attribution(check="threads", url=url, requests=400, units=number)
            for url, number in zip(URLS, units, strict=True)
        )
        return finding(msgspec.structs.replace(seen, attributions=told)).seen

    assert attributed(0, 8).endswith(", by requests to interpreter2 alone")
    assert attributed(8, 8).endswith(", in every interpreter")
    # What grows by itself also grows now and then while one URL is asked.
    for by_chance in ((0, 0), (0, 1), (0, 4), (1, 1)):
        assert attributed(*by_chance) == finding(seen).seen


def test_where_leaked_sockets_were_opened_is_told() -> None:
    seen = with_series("descriptors", LEAKS["one in 50 requests"])
    stacks = {"connect (pool.py:7) < checkout (pool.py:90)": 5, "other (x.py:1)": 1}
    origins = tuple(
        SocketOrigin(pid=WORKER, application_group="interpreter1", stack=stack, sockets=number)
        for stack, number in stacks.items()
    )
    told = finding(msgspec.structs.replace(seen, socket_origins=origins))
    assert told.seen.endswith(
        "; sockets that were opened meanwhile and stay open come from connect (pool.py:7)"
    )
    assert (
        f"pid {WORKER} interpreter1 opened 5 sockets that stay open: connect (pool.py:7) < "
        "checkout (pool.py:90)"
    ) in told.evidence
    threads = with_series("threads", LEAKS["one in 50 requests"])
    assert "opened" not in finding(msgspec.structs.replace(threads, socket_origins=origins)).seen


def test_attributions_of_another_check_are_not_told() -> None:
    one = Attribution(check="connections", url=URLS[0], requests=400, units=8)
    seen = with_series("threads", LEAKS["one in 50 requests"])
    assert finding(msgspec.structs.replace(seen, attributions=(one,))) == finding(seen)


@pytest.mark.parametrize(("sensitivity", "short"), [(250, False), (1000, True), (0, False)])
def test_a_pass_says_if_the_sensitivity_could_not_be_shown(sensitivity: int, short: bool) -> None:
    seen = observed()
    plan = msgspec.structs.replace(seen.plan, sensitivity=sensitivity)
    told = reason(msgspec.structs.replace(seen, plan=plan), "threads")
    assert told.endswith("; that is less than --sensitivity 1000 is to show") is short


def test_a_pass_says_how_small_a_leak_would_have_shown() -> None:
    assert reason(observed(), "threads") == (
        "threads did not grow in 3,000 requests; a leak of one in 1,001 requests would have shown "
        "(95 %), and one in 167 requests if each is alone"
    )
    assert reason(with_series("threads", steps(9, 16)), "threads").startswith(
        "threads grew by 2 in all in 3,000 requests; a leak of one in 4"
    )


def test_connections_without_an_app_name_are_counted_from_proc_alone() -> None:
    note = "; counted from /proc alone: PyMongo 3.3.1 has no appName"
    old = cell_with(CELL, pymongo="3.3.1")
    (told,) = [one for one in judge(old, observed(), RULES).checks if one.check == "connections"]
    assert told.verdict is Verdict.PASS
    assert told.reason.endswith(note)
    assert note not in reason(observed(), "connections")


def test_what_is_undecided_says_why_and_how_many_more_requests_would_decide() -> None:
    seen = with_series("threads", steps(3, 6, 9, 12, 15))
    assert outcome(seen) == {"threads": Verdict.INCONCLUSIVE}
    assert reason(seen, "threads") == (
        "threads grew by 5, one in 600 requests (95 %: 257 to 1,862), but the growth may have "
        "stopped: about 1,710 more requests would decide (-n)"
    )


def test_what_is_undecided_asks_for_more_requests_and_nothing_else_does() -> None:
    assert more_to_decide(RESOURCES, with_series("threads", steps(3, 6, 9, 12, 15))) == (1710,)
    for decided in (observed(), with_series("threads", LEAKS["one in each request"])):
        assert more_to_decide(RESOURCES, decided) == ()


EVEN = steps(2, 5, 8, 11, 14, 17)
"""Growth that may be a slow leak, or a pool that fills as requests happen to overlap."""


def confirmed(seen: Observed, requests: int, units: int, check: str = "threads") -> Observed:
    """The same, with what came of it when all pools were full."""
    told = Confirmation(check=check, requests=requests, units=units)
    return msgspec.structs.replace(seen, confirmations=(told,))


@pytest.mark.parametrize("values", [EVEN, steps(3, 6, 9, 12, 15)])
def test_growth_that_does_not_go_on_with_full_pools_was_a_pool(values: Values) -> None:
    seen = with_series("threads", values)
    assert "threads" in counted(seen)
    (wanted,) = to_confirm(RESOURCES, seen).values()
    full = confirmed(seen, wanted, 0)
    assert counted(full) == {}
    assert f"and by none in {wanted:,} more with all pools full; " in reason(full, "threads")
    assert to_confirm(RESOURCES, confirmed(seen, wanted, -3)) == leak_rates(RESOURCES, full) == {}


def test_growth_that_goes_on_or_was_not_looked_at_for_long_enough_stays_a_leak() -> None:
    seen = with_series("threads", EVEN)
    (wanted,) = to_confirm(RESOURCES, seen).values()
    for other in (
        confirmed(seen, wanted, 1),
        confirmed(seen, wanted - 1, 0),
        confirmed(seen, wanted, 0, check="descriptors"),
    ):
        assert counted(other)["threads"] is Verdict.FAIL
        assert finding(other).seen == finding(seen).seen
    told = f"with all pools full: +1 in {wanted:,} requests"
    assert told in finding(confirmed(seen, wanted, 1)).evidence


def test_what_no_pool_holds_and_what_does_not_grow_need_no_second_look() -> None:
    assert to_confirm(RESOURCES, observed()) == {}
    blatant = with_series("threads", LEAKS["one in each request"])
    assert to_confirm(RESOURCES, blatant) == {}
    assert counted(confirmed(blatant, 100_000, 0))["threads"] is Verdict.FAIL


def test_the_rates_of_leaks_are_there_to_be_asked_for() -> None:
    assert leak_rates(RESOURCES, observed()) == {}
    assert leak_rates(RESOURCES, with_series("threads", steps(8, 16))) == {}
    ((count, rate),) = leak_rates(
        RESOURCES, with_series("threads", LEAKS["one in each request"])
    ).items()
    assert count == "threads"
    assert rate == pytest.approx(1, rel=0.05)


# What lives for a while

GROWN = [30 + 10 * number for number in range(POINTS - 1)]
DRAIN = configured(phases=()).plan()


def after_drains(values: Values, *drained: int) -> Observed:
    """Threads under load, with the last of ``values`` after a drain, and after more of them."""
    seen = with_series("threads", values)
    made = [
        msgspec.structs.replace(
            seen.samples[-1],
            requests=seen.samples[-1].requests + 1500 * number,
            processes=(reading(threads=value),),
        )
        for number, value in enumerate(drained)
    ]
    return msgspec.structs.replace(seen, plan=DRAIN, drained=tuple(made))


def test_growth_that_a_drain_takes_back_is_undecided_until_load_and_another_drain() -> None:
    seen = after_drains([*GROWN, 32])
    assert counted(seen) == {"threads": Verdict.INCONCLUSIVE}
    assert to_drain(RESOURCES, seen) == growing(RESOURCES, seen) == (RESOURCES["threads"],)
    assert to_confirm(RESOURCES, seen) == leak_rates(RESOURCES, seen) == {}
    assert more_to_decide(RESOURCES, seen) == ()
    told = reason(seen, "threads")
    assert "238 of them were gone after a while without a request" in told
    assert told.endswith("a drain of more than 6 seconds would decide (--drain-seconds)")


def test_growth_that_drains_take_back_each_time_is_no_leak() -> None:
    for drained in ((32, 32), (32, 31), (32, 33, 33)):
        seen = after_drains([*GROWN, 32], *drained)
        assert counted(seen) == {}, drained
        assert to_drain(RESOURCES, seen) == ()
    assert reason(after_drains([*GROWN, 32], 32, 32), "threads") == (
        "threads grew, and 238 of them were gone after a while without a request; "
        "1,500 more requests left none; a leak of one in 501 requests would have shown (95 %)"
    )


def test_a_leak_behind_what_lives_for_a_while_is_found() -> None:
    seen = after_drains([*GROWN, 62], 62, 92, 122)
    assert counted(seen) == {"threads": Verdict.FAIL}
    assert finding(seen).seen.startswith("60 threads leaked in 3,000 requests, one in 50 requests")
    assert leak_rates(RESOURCES, seen) == {}, "one URL alone shows it no faster"
    for undecided in ((62, 92), (62, 92, 95)):
        again = after_drains([*GROWN, 62], *undecided)
        assert counted(again) == {"threads": Verdict.INCONCLUSIVE}


def test_a_leak_of_which_little_is_gone_is_one() -> None:
    seen = after_drains([*GROWN, 268])
    assert counted(seen) == {"threads": Verdict.FAIL}
    assert to_drain(RESOURCES, seen) == ()


def test_a_leak_says_how_long_it_stayed() -> None:
    seen = after_drains([*GROWN, GROWN[-1]])
    last = msgspec.structs.replace(seen.samples[-1], time=seen.samples[-2].time + 6.2)
    seen = msgspec.structs.replace(seen, samples=(*seen.samples[:-1], last))
    assert finding(seen).seen.endswith(", still there 6 seconds later")


def test_counts_have_returned_only_if_all_have() -> None:
    before, now = (
        samples([[reading(threads=20, descriptors=descriptors)]])[0] for descriptors in (30, 31)
    )
    assert have_returned([RESOURCES["threads"]], before, now)
    assert not have_returned([RESOURCES["threads"], RESOURCES["descriptors"]], before, now)


# Several processes


def test_one_leaking_worker_among_others_is_found() -> None:
    rows = [
        [reading(201), reading(202, threads=20 + 5 * number), reading(203)]
        for number in range(POINTS)
    ]
    seen = of_workers(rows, 3)
    assert outcome(seen) == {"threads": Verdict.FAIL}
    assert "pid 202" in finding(seen).evidence[0]
    assert len(finding(seen).evidence) == 1


def test_only_workers_are_judged() -> None:
    rows = [
        [reading(), reading(FRONTEND, role=Role.FRONTEND, descriptors=10 + 10 * number)]
        for number in range(POINTS)
    ]
    assert outcome(observed(samples=samples(rows))) == {}


def test_a_client_opened_once_by_each_interpreter_of_each_process_is_no_leak() -> None:
    """Eight of them, whenever they come: neither by process nor by the server's count."""
    each = [steps(4 + shift, 15 + 2 * shift, size=3) for shift in range(4)]
    rows = [
        [reading(201 + n, connections=each[n][number]) for n in range(4)]
        for number in range(POINTS)
    ]
    total = [sum(one[number] for one in each) for number in range(POINTS)]
    seen = observed(samples=samples(rows, total), workers=(4, 1))
    assert outcome(seen) == {"connections": Verdict.INCONCLUSIVE}
    assert "each interpreter may have opened one" in reason(seen, "connections")


def test_a_replaced_process_starts_a_series_of_its_own() -> None:
    """201 ends and 202 takes over, with more of everything: two flat series and no growth."""
    rows = [[reading(201, descriptors=20)]] * 6 + [[reading(202, descriptors=90)]] * (POINTS - 6)
    assert counted(observed(samples=samples(rows))) == {}


def test_a_process_that_took_over_may_fill_its_pools() -> None:
    """It had no warm-up. The first third of its readings is left out."""
    filling = [20, 35, 48, 60, 66, 70] + [72] * (POINTS - 12)
    rows = [[reading(201)]] * 6 + [[reading(202, connections=value)] for value in filling]
    assert counted(observed(samples=samples(rows))) == {}


def test_a_leak_of_the_process_that_took_over_is_found() -> None:
    rows = [[reading(201)]] * 6 + [[reading(202, descriptors=20 + 9 * n)] for n in range(20)]
    assert counted(observed(samples=samples(rows))) == {"descriptors": Verdict.FAIL}


def test_processes_that_live_too_briefly_tell_nothing() -> None:
    rows = [[reading(201 + number // 3)] for number in range(POINTS)]
    verdicts = outcome(observed(samples=samples(rows)))
    assert verdicts["descriptors"] is verdicts["threads"] is Verdict.INCONCLUSIVE


# Missing evidence


@each_process
def test_a_hole_in_a_series_hides_no_leak(resource: str) -> None:
    values: list[int | None] = list(LEAKS["one in each request"])
    values[3] = values[7] = None
    assert outcome(with_series(resource, values)) == {resource: Verdict.FAIL}


@each_process
def test_readings_that_all_failed_do_not_pass(resource: str) -> None:
    assert outcome(with_series(resource, [None] * POINTS)) == {resource: Verdict.INCONCLUSIVE}


@each_process
def test_one_worker_that_could_not_be_read_does_not_pass_on_the_others(resource: str) -> None:
    """Half of the processes may leak, for all that anybody knows."""
    rows = [[reading(201), BY_PROCESS[resource](None)] for _ in range(POINTS)]
    assert outcome(of_workers(rows, 2)) == {resource: Verdict.INCONCLUSIVE}


def test_too_few_checkpoints_do_not_pass() -> None:
    for points in range(LEAST_SAMPLES + 1):
        verdicts = counted(observed(samples=samples([[reading()]] * points)))
        missing = list(RESOURCES) if points < LEAST_SAMPLES else []
        missing += [] if points else ["closed-client"]  # which one reading decides
        assert verdicts == dict.fromkeys(missing, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("resource", [*RESOURCES])
def test_samples_without_a_request_between_them_do_not_pass(resource: str) -> None:
    rows = samples([[reading()]] * POINTS)
    idle = tuple(msgspec.structs.replace(one, requests=ROUND) for one in rows)
    checks = judge(CELL, observed(samples=idle), RULES).checks
    (told,) = [one for one in checks if one.check == resource]
    assert told.verdict is Verdict.INCONCLUSIVE
    assert told.reason.endswith("at least 4 are needed, with requests between them")


@each_server
@pytest.mark.parametrize("unreadable", [[0], [POINTS - 1], range(POINTS)])
def test_a_server_that_does_not_tell_is_no_pass(resource: str, unreadable: Sequence[int]) -> None:
    values = [None if number in unreadable else SESSIONS for number in range(POINTS)]
    assert outcome(by_server(values, resource)) == {resource: Verdict.INCONCLUSIVE}


def test_sessions_are_not_judged_where_others_may_have_some() -> None:
    values = [None] * POINTS
    seen = msgspec.structs.replace(by_server(values, "sessions"), owned=False)
    assert outcome(seen) == {"sessions": Verdict.SKIPPED}
    seen = msgspec.structs.replace(by_server(values, "cursors"), owned=False)
    assert outcome(seen)["cursors"] is Verdict.INCONCLUSIVE


def test_a_leak_that_proc_shows_needs_no_word_of_the_server() -> None:
    rows = [[reading(connections=20 + 9 * number)] for number in range(POINTS)]
    seen = observed(samples=samples(rows, [None] * POINTS))
    assert outcome(seen) == {"connections": Verdict.FAIL}


# Sure early


def rising(rounds: Sequence[int], processes: int) -> list[Sample]:
    """A connection in each request, shared out among the processes."""
    made = []
    requests = 250
    for number, size in enumerate([0, *rounds]):
        requests += size
        own = (requests - 250) // processes
        one = samples(
            [[reading(201 + pid, connections=20 + own) for pid in range(processes)]],
            [20 * processes + requests - 250],
        )[0]
        made.append(msgspec.structs.replace(one, time=float(number), requests=requests))
    return made


@pytest.mark.parametrize(("processes", "threads"), [(1, 15), (4, 1)])
def test_a_leak_in_each_request_is_certain_within_300_requests(
    processes: int, threads: int
) -> None:
    rows = rising([50, 100, 125], processes)
    assert certain_leak(RESOURCES, rows[:2], len(URLS), processes, threads) == ""
    told = certain_leak(RESOURCES, rows, len(URLS), processes, threads)
    assert "connections" in told
    assert told.endswith(", more than any pool holds")
    # What was called early is a leak for the judge as well, with as few samples.
    seen = observed(samples=tuple(rows), workers=(processes, threads), decided_early=told)
    assert judge(CELL, seen, RULES).verdict is Verdict.FAIL
    assert "connections" in leak_rates(RESOURCES, seen)


def test_pools_that_fill_are_never_certain_leaks() -> None:
    """Up to one connection for each thread of each interpreter, and the client's own beside."""
    rows = rising([10, 10, 10, 10, 10, 10], 1)
    assert rows[-1].processes[0].connections == 20 + 2 * 15 + 30
    assert certain_leak(RESOURCES, rows, len(URLS), 1, 15) == ""
    assert certain_leak(RESOURCES, samples([[reading()]] * POINTS), len(URLS), 1, 15) == ""


def test_the_level_is_the_servers_count_or_else_that_of_all_workers() -> None:
    rows = [reading(201, connections=3), reading(202, connections=4)]
    one = samples([[*rows, reading(FRONTEND, role=Role.FRONTEND, connections=9)]])[0]
    assert total(RESOURCES["connections"], one) == 28
    unasked = counting(one, connections=None)
    assert total(RESOURCES["connections"], unasked) == 7
    assert total(RESOURCES["sessions"], one) == SESSIONS
    assert total(RESOURCES["cursors"], counting(one, cursors=None)) == 0


def test_the_least_number_of_steps_is_what_the_series_here_suppose() -> None:
    assert LEAST_STEPS == 4


# What is left outside of the processes


def named(name: str, values: Values) -> Observed:
    """A record in which this count of the samples went through ``values``."""
    rows = samples([[reading()]] * len(values))
    changed = zip(rows, values, strict=True)
    return observed(
        samples=tuple(
            msgspec.structs.replace(row, counts=row.counts | {name: value})
            for row, value in changed
        )
    )


each_name = pytest.mark.parametrize(
    ("check", "name"), [(check, name) for check, names in BY_NAME.items() for name in names]
)


@each_name
@pytest.mark.parametrize("values", LEAKS.values(), ids=LEAKS)
def test_what_is_left_trips_its_check_alone(check: str, name: str, values: Values) -> None:
    assert counted(named(name, values)) in (
        {check: Verdict.FAIL},
        {} if name in RESOURCES[check].limited else None,  # one in 250 is accepted
    )


@each_name
def test_what_could_not_be_counted_is_no_pass(check: str, name: str) -> None:
    assert counted(named(name, [3] * 7 + [None] * (POINTS - 7))) == {check: Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("most", "verdicts"), [(1.0, {"files": Verdict.FAIL}), (2.5, {}), (100.0, {})]
)
def test_files_may_be_left_at_a_rate(most: float, verdicts: dict[str, Verdict]) -> None:
    seen = named("files", LEAKS["one in 50 requests"])
    seen = msgspec.structs.replace(seen, plan=msgspec.structs.replace(seen.plan, max_files=most))
    assert counted(seen) == verdicts
    if not verdicts:
        assert f"; {most:g} in 100 requests are accepted (--max-files)" in reason(seen, "files")


def test_shared_memory_may_not() -> None:
    seen = named("segments", LEAKS["one in 50 requests"])
    plan = msgspec.structs.replace(seen.plan, max_files=100.0)
    seen = msgspec.structs.replace(seen, plan=plan)
    assert "shared memory segments leaked in 3,000 requests" in finding(seen).seen


def test_files_never_end_the_load_early() -> None:
    """Whether they are a finding depends on the configuration."""
    assert not certain_leak(
        RESOURCES, named("files", LEAKS["one in each request"]).samples, 2, 1, 15
    )


def test_a_file_that_grows_is_mentioned() -> None:
    told = reason(named("bytes", [2**20 * number for number in range(POINTS)]), "files")
    assert told.endswith("; the files have grown by 25.0 MiB")


def growing_files(rate: float | None, limit: float, rotated: int = 10**9) -> Observed:
    """A record of files that grow by so many bytes with each request, and are sometimes emptied."""
    sizes: list[int | None] = [
        None if rate is None else round(rate * one.requests) % rotated
        for one in named("files", [3] * POINTS).samples
    ]
    seen = named("bytes", sizes)
    return msgspec.structs.replace(
        seen, plan=msgspec.structs.replace(seen.plan, max_file_growth=limit)
    )


def test_files_grow_by_more_than_is_accepted() -> None:
    seen = growing_files(100, 90)
    assert counted(seen) == {"files": Verdict.FAIL}
    assert "files grew by 100 bytes per request (100 to 100, 95 %)" in reason(seen, "files")
    assert "(--max-file-growth 90)" in reason(seen, "files")


@pytest.mark.parametrize(("limit", "rotated"), [(110, 10**9), (50, 20_000)])
def test_files_grow_by_less_than_is_accepted(limit: float, rotated: int) -> None:
    seen = growing_files(100, limit, rotated)
    assert counted(seen) == {}
    assert "; files grew by " in reason(seen, "files")


def test_files_whose_size_was_not_read_do_not_pass_a_limit() -> None:
    seen = growing_files(None, 90)
    assert counted(seen) == {"files": Verdict.INCONCLUSIVE}
    assert reason(seen, "files").endswith("was read 0 times, too few for --max-file-growth")


def test_what_another_program_may_have_made_is_not_judged() -> None:
    rows = samples([[reading()]] * POINTS)
    counts = dict(rows[0].counts)
    del counts["files elsewhere"]
    changed = msgspec.structs.replace(rows[9], counts=counts)
    seen = observed(samples=(*rows[:9], changed, *rows[10:]))
    assert counted(seen) == {}
    assert reason(seen, "files").endswith(
        "; not counted, since another program may make them: files elsewhere"
    )


def test_a_record_without_these_counts_is_skipped() -> None:
    counts: dict[str, int | None] = dict.fromkeys(BY_SERVER, 30)
    rows = [msgspec.structs.replace(row, counts=counts) for row in samples([[reading()]] * POINTS)]
    skipped = [*BY_NAME, "closed-client"]
    assert counted(observed(samples=tuple(rows))) == dict.fromkeys(skipped, Verdict.SKIPPED)


# Leaks of requests that are alone in their process


ALONE = [30] * 21 + [31, 32, 33, 34, 34]
"""One in each round of the serial phase, and none before it."""


def test_a_leak_of_requests_that_are_alone_is_asked_for_with_such_requests() -> None:
    seen = by_server(ALONE)
    assert to_confirm(RESOURCES, seen) == {}
    (needed,) = to_confirm_alone(RESOURCES, seen).values()
    assert 500 < needed < 3000
    assert "34 requests" not in finding(seen).seen
    assert "4 connections leaked in 500 requests that were alone in their process" in (
        finding(seen).seen
    )


@pytest.mark.parametrize(("units", "verdicts"), [(0, {}), (5, {"connections": Verdict.FAIL})])
def test_more_such_requests_decide(units: int, verdicts: dict[str, Verdict]) -> None:
    seen = by_server(ALONE)
    (needed,) = to_confirm_alone(RESOURCES, seen).values()
    told = Confirmation(check="connections", requests=needed, units=units, alone=True)
    assert counted(msgspec.structs.replace(seen, confirmations=(told,))) == verdicts


def test_requests_that_are_not_alone_decide_nothing_of_it() -> None:
    seen = by_server(ALONE)
    told = Confirmation(check="connections", requests=100_000, units=0)
    decided = counted(msgspec.structs.replace(seen, confirmations=(told,)))
    assert decided == {"connections": Verdict.FAIL}


def test_an_application_that_never_connected_has_no_connections_to_judge() -> None:
    never = observed(samples=samples([[reading(connections=0)]] * POINTS, [0] * POINTS))
    own = cell_with(CELL, app="/srv/shop.py")
    for name in BY_SERVER:
        check = check_of(RESOURCES[name])
        result = check(own, never)
        assert "never opened a connection to MongoDB" in result.skipped, check
        assert check(CELL, never).missing, "the built-in application always opens some"
