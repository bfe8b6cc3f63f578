"""The load client, against a real server that misbehaves in every way we could think of."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.hostile import Hostile, Script, Step, Then, served
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.load.connection import Connection
from wsgiproof.load.connection_pool import ConnectionPool, connection_pool
from wsgiproof.load.engine import burst, paced, parallel, raise_descriptor_limit
from wsgiproof.load.response import Response
from wsgiproof.load.response_parser import MAX_BODY, MAX_HEAD, ResponseParser
from wsgiproof.load.statistics import Histogram
from wsgiproof.load.target import Target
from wsgiproof.records.traffic import Latencies, Outcome

CLOSE = b"Connection: close\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + CLOSE + b"\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + CLOSE + b"\r\n"
SLACK = 120.0  # seconds that a busy machine may add


def fetch(target: Target, timeout: float) -> Response:
    """One request by itself."""
    responses: list[Response] = []
    burst([target], timeout, responses.append)
    (response,) = responses
    return response


def answer_to(script: Script, timeout: float = 60.0) -> Response:
    """What the client makes of one answer; checks what has to hold for all of them."""

    def main() -> Response:
        with served(script) as server:
            return fetch(Target.parse(server.url), timeout)

    response = main()
    assert 0 <= response.seconds <= timeout + SLACK
    assert abs(time.monotonic() - response.started) < timeout + SLACK
    assert len(response.body) <= MAX_BODY
    assert "\n" not in response.error
    return response


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# What comes back: script, outcome, status, body

LONG_HEADER = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * MAX_HEAD + b"\r\n\r\n"
MANY_HEADERS = b"HTTP/1.1 200 OK\r\n" + b"X-Many: yes\r\n" * 5000
MANY_HEADERS += b"X-Fill: " + b"x" * (MAX_HEAD - len(MANY_HEADERS) - 12) + b"\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
HEAD_10 = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + CLOSE + b"\r\n"
GOOD_CHUNKS = CHUNKED + b"5;name=value\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n"

ANSWERS: dict[str, tuple[list[Step], Outcome, int | None, bytes]] = {
    "ok": ([HELLO], Outcome.OK, 200, b"hello"),
    "ok, keeps the connection": (
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Then.HANG],
        Outcome.OK,
        200,
        b"hello",
    ),
    "ok, body until close": ([b"HTTP/1.1 200 OK\r\n\r\nhe", b"llo"], Outcome.OK, 200, b"hello"),
    "ok, HTTP/1.0": ([b"HTTP/1.0 200 OK\r\n\r\nhello"], Outcome.OK, 200, b"hello"),
    "ok, empty body until close": ([b"HTTP/1.1 200 OK\r\n\r\n"], Outcome.OK, 200, b""),
    "ok, no body": (
        [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + CLOSE + b"\r\n"],
        Outcome.OK,
        200,
        b"",
    ),
    "ok, reset once complete": ([HELLO, 0.01, Then.RESET], Outcome.OK, 200, b"hello"),
    "ok, empty line after": ([HELLO + b"\r\n"], Outcome.OK, 200, b"hello"),
    "ok, as long as allowed": (
        [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * MAX_BODY],
        Outcome.OK,
        200,
        b"x" * MAX_BODY,
    ),
    "ok, upgrade offered": (
        [b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\nhello"],
        Outcome.OK,
        200,
        b"hello",
    ),
    "chunked": ([GOOD_CHUNKS], Outcome.OK, 200, b"hello!"),
    "100 then 200": ([INTERIM + HELLO], Outcome.OK, 200, b"hello"),
    "100, 103 then 200": ([INTERIM, EARLY_HINTS, HELLO], Outcome.OK, 200, b"hello"),
    "204": ([b"HTTP/1.1 204 No Content\r\n" + CLOSE + b"\r\n"], Outcome.OK, 204, b""),
    "304": (
        [b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n" + CLOSE + b"\r\n"],
        Outcome.STATUS,
        304,
        b"",
    ),
    "302": (
        [b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n" + CLOSE + b"\r\n"],
        Outcome.STATUS,
        302,
        b"",
    ),
    "500 with body": (
        [b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n" + CLOSE + b"\r\noops"],
        Outcome.STATUS,
        500,
        b"oops",
    ),
    "reset, no bytes": ([Then.RESET], Outcome.RESET, None, b""),
    "reset amid headers": ([HELLO[:30], 0.01, Then.RESET], Outcome.RESET, None, b""),
    "reset amid body": ([HEAD_10 + b"abc", 0.01, Then.RESET], Outcome.RESET, 200, b"abc"),
    "reset, body until close": (
        [b"HTTP/1.1 200 OK\r\n\r\nabc", 0.01, Then.RESET],
        Outcome.RESET,
        200,
        b"abc",
    ),
    "closes, no bytes": ([], Outcome.TRUNCATED, None, b""),
    "closes after 100": ([INTERIM], Outcome.TRUNCATED, None, b""),
    "closes amid status line": ([b"HT"], Outcome.TRUNCATED, None, b""),
    "closes amid headers": ([HELLO[:30]], Outcome.TRUNCATED, None, b""),
    "closes amid body": ([HEAD_10 + b"abc"], Outcome.TRUNCATED, 200, b"abc"),
    "closes before the last chunk": ([CHUNKED + b"3\r\nabc\r\n"], Outcome.TRUNCATED, 200, b"abc"),
    "closes before any chunk": ([CHUNKED], Outcome.TRUNCATED, 200, b""),
    "bad chunk": ([CHUNKED + b"3\r\nabc\r\nzz\r\n"], Outcome.MALFORMED, 200, b"abc"),
    "garbage": ([b"\x00\xff\x16\x03 garbage"], Outcome.MALFORMED, None, b""),
    "another protocol": ([b"SSH-2.0-OpenSSH_9.2\r\n"], Outcome.MALFORMED, None, b""),
    "HTTP/2.0": ([HELLO.replace(b"/1.1", b"/2.0")], Outcome.MALFORMED, None, b""),
    "status 099": ([HELLO.replace(b"200", b"099")], Outcome.MALFORMED, None, b""),
    "101": (
        [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"],
        Outcome.MALFORMED,
        None,
        b"",
    ),
    "negative length": ([HELLO.replace(b": 5", b": -5")], Outcome.MALFORMED, None, b""),
    "two lengths": (
        [HELLO.replace(CLOSE, b"Content-Length: 4\r\n" + CLOSE)],
        Outcome.MALFORMED,
        None,
        b"",
    ),
    "length and chunked": (
        [CHUNKED.replace(CLOSE, CLOSE + b"Content-Length: 4\r\n")],
        Outcome.MALFORMED,
        None,
        b"",
    ),
    "gzip coding": ([CHUNKED.replace(b"chunked", b"gzip")], Outcome.MALFORMED, 200, b""),
    "body beyond the bound": (
        [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (3 * MAX_BODY + 1)],
        Outcome.OK,
        200,
        b"x" * MAX_BODY,
    ),
    "long header": ([LONG_HEADER], Outcome.MALFORMED, None, b""),
    "headers up to the bound": ([MANY_HEADERS + b"body"], Outcome.OK, 200, b"body"),
    "headers beyond the bound": (
        [MANY_HEADERS.replace(b" OK", b" OKK") + b"body"],
        Outcome.MALFORMED,
        None,
        b"",
    ),
    "endless 100s": ([*[INTERIM * 1000] * 4, HELLO], Outcome.MALFORMED, None, b""),
    "endless chunk extension": (
        [CHUNKED + b"5;", *([b"x" * MAX_BODY] * 9)],
        Outcome.MALFORMED,
        200,
        b"",
    ),
    "bytes after the end": ([HELLO + b"x"], Outcome.MALFORMED, 200, b"hello"),
    "bytes after the end, later": ([HELLO, 0.02, b"x"], Outcome.MALFORMED, 200, b"hello"),
    "bytes after the end, kept open": (
        [HELLO.replace(CLOSE, b"") + b"H"],
        Outcome.MALFORMED,
        200,
        b"hello",
    ),
    "another answer after it": ([HELLO + HELLO], Outcome.MALFORMED, 200, b"hello"),
    "204 with a body": (
        [b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n" + CLOSE + b"\r\nno"],
        Outcome.MALFORMED,
        204,
        b"",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_kind_of_answer_has_its_outcome(name: str) -> None:
    script, outcome, status, body = ANSWERS[name]
    response = answer_to(script)
    assert (response.outcome, response.status) == (outcome, status), response.error
    assert response.body == body
    assert bool(response.error) == (outcome is not Outcome.OK)


def whole(name: str) -> bytes:
    return b"".join(step for step in ANSWERS[name][0] if isinstance(step, bytes))


# A connection that the server keeps open is not waited on for bytes that may come later.
SHORT = [
    name
    for name, (script, *_) in ANSWERS.items()
    if len(whole(name)) < 200
    and all(isinstance(step, bytes) for step in script)
    and not name.endswith("kept open")
]


def test_where_the_segments_end_makes_no_difference() -> None:
    """Each short answer, cut in two at every byte, and sent byte by byte."""
    cases: list[tuple[str, list[bytes]]] = []
    for name in SHORT:
        data = whole(name)
        cases += [(name, [data[:at], data[at:]]) for at in range(1, len(data))]
        cases.append((name, [data[at : at + 1] for at in range(len(data))]))

    def number(line: str) -> int:
        return int(line.partition("?")[2].split()[0])

    def check(response: Response) -> None:
        name, script = cases[number(response.url)]
        _, outcome, status, body = ANSWERS[name]
        seen = (response.outcome, response.status, response.body)
        assert seen == (outcome, status, body), (name, script)

    with served(lambda request: cases[number(request.decode())][1]) as server:
        target = Target.parse(server.url)
        numbers = iter(range(len(cases)))
        parallel(
            lambda: target.with_query(str(next(numbers))),
            requests=len(cases),
            connections=20,
            timeout=300,
            on_response=check,
        )
        assert len(server.requests) == len(cases)
    assert len(SHORT) > 20


def test_random_bytes_never_raise_nor_outlast_the_deadline() -> None:
    rng = random.Random(20)
    seeds = [whole(name) for name in SHORT]
    seen: Counter[Outcome] = Counter()

    def answer(request: bytes) -> Script:
        data = bytearray(rng.choice(seeds) if rng.random() < 0.9 else rng.randbytes(200))
        for _ in range(rng.choice([0, 1, 1, 2, 8])):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.choice([0, 1, 20])] = rng.choice(
                [b"", b"\r\n", b"\x00", rng.randbytes(3), b"0", b"9" * 20, b"chunked", b":"]
            )
        for _ in range(rng.randrange(4)):
            size = rng.randrange(len(data) + 1)
            yield bytes(data[:size])
            del data[:size]
        yield bytes(data)
        yield from rng.choice([[], [], [], [Then.RESET], [Then.HANG]])

    def count(response: Response) -> None:
        assert response.seconds < 0.2 + SLACK
        seen[response.outcome] += 1

    def main() -> None:
        with served(answer) as server:
            target = Target.parse(server.url)
            parallel(lambda: target, requests=600, connections=20, timeout=0.2, on_response=count)

    main()
    assert seen.total() == 600
    assert set(seen) == set(Outcome) - {Outcome.REFUSED, Outcome.INVALID_BODY, Outcome.NO_REPORT}


# The deadline


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([Then.HANG], None),
        ([HELLO[:30], Then.HANG], None),
        ([HEAD_10 + b"abc", Then.HANG], 200),
        ([step for byte in HELLO for step in (bytes([byte]), 1.0)], None),
        ([step for _ in range(999) for step in (b"x", 0.01)], None),
        ([INTERIM, *[step for _ in range(999) for step in (INTERIM, 0.01)]], None),
        ([HEAD_10, *[step for _ in range(9) for step in (b"x", 0.1)]], 200),
    ],
    ids=["never", "headers", "body", "byte a second", "garbage?", "100s", "body trickle"],
)
def test_the_deadline_holds(script: list[bytes | float | Then], status: int | None) -> None:
    response = answer_to(script, timeout=0.5)
    if script[0] == b"x":
        assert response.outcome is Outcome.MALFORMED
        return
    assert (response.outcome, response.status) == (Outcome.TIMEOUT, status)
    assert 0.499 <= response.seconds < 0.5 + SLACK


def test_the_deadline_holds_while_connecting() -> None:
    """A listener whose queue is full drops further connections: nobody answers at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.create_connection(address), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(address)
            response = fetch(Target.parse(f"http://127.0.0.1:{address[1]}/"), 0.3)
    assert response.outcome is Outcome.TIMEOUT
    assert "no connection" in response.error
    assert 0.299 <= response.seconds < 0.3 + SLACK


def test_an_answer_in_time_is_no_timeout_when_we_were_late_to_read_it() -> None:
    """A signal's handler holds up the client alone."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                os.kill(os.getpid(), signal.SIGALRM)
                busy.wait()
                sock.sendall(HELLO)

        def hold_up(*_: object) -> None:
            busy.set()
            time.sleep(1.1)  # beyond the deadline

        busy = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        before = signal.signal(signal.SIGALRM, hold_up)
        try:
            response = fetch(Target.parse(f"http://127.0.0.1:{listener.getsockname()[1]}/"), 1.0)
        finally:
            signal.signal(signal.SIGALRM, before)
        thread.join()
    assert response.outcome is Outcome.OK, response.error


def test_a_complete_answer_is_ok_even_if_the_server_does_not_close() -> None:
    response = answer_to([HELLO, Then.HANG], timeout=3.0)
    assert response.outcome is Outcome.OK
    assert "not closed" in response.error
    assert response.seconds < 3.0


# Kept connections

KEPT = HELLO.replace(CLOSE, b"")


def kept_answers(
    scripts: list[Script], timeout: float = 60.0, pause: float = 0.0
) -> tuple[list[Response], int]:
    """What comes of a request for each script, all over one connection as far as that goes."""

    left = iter(scripts)
    with served(lambda request: next(left, [])) as server, connection_pool(timeout) as pool:
        target = Target.parse(server.url, keeps=True)
        responses: list[Response] = []
        for _ in range(len(scripts) - sum(script == [] for script in scripts)):
            pool.begin(target)
            while pool.in_flight:
                responses += pool.wait()
            rest(pool, pause)
        return responses, server.connections


def rest(pool: ConnectionPool, seconds: float) -> None:
    """Wait with nothing in flight."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert pool.wait(until) == []


@pytest.mark.parametrize(
    "answer",
    [KEPT, GOOD_CHUNKS.replace(CLOSE, b""), INTERIM + KEPT,
     HELLO.replace(b"1.1", b"1.0").replace(b"close", b"keep-alive"),
     b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"],
)  # fmt: skip
def test_a_kept_connection_carries_one_request_after_the_other(answer: bytes) -> None:
    responses, connections = kept_answers([[answer, Then.AGAIN]] * 20)
    assert connections == 1
    (once,) = {(one.outcome, one.status, one.body, one.error) for one in responses}
    (alone,) = {
        (one.outcome, one.status, one.body, one.error) for one in [answer_to([answer, Then.HANG])]
    }
    assert once == alone


@pytest.mark.parametrize(
    "name",
    [name for name in ANSWERS if name not in ("closes, no bytes", "ok, keeps the connection")],
)
def test_every_answer_is_the_same_on_a_connection_that_was_kept(name: str) -> None:
    script, outcome, status, body = ANSWERS[name]
    responses, _ = kept_answers(
        [[KEPT, Then.AGAIN], script, *([script] if name == "reset, no bytes" else []),
         [KEPT, Then.AGAIN]], pause=0.05
    )  # fmt: skip
    first, second, third = responses[:3]
    assert (first.outcome, third.body) == (Outcome.OK, b"hello")
    if name.startswith("bytes after the end, ") or name == "another answer after it":
        return  # below: they may come before the request that follows, or with the answer
    assert (second.outcome, second.status, second.body) == (outcome, status, body), second.error
    assert third.outcome is Outcome.OK, third.error


def test_a_server_that_says_that_it_closes_gets_a_new_connection() -> None:
    responses, connections = kept_answers([[HELLO]] * 5)
    assert (connections, {one.outcome for one in responses}) == (5, {Outcome.OK})
    assert not any(one.resent for one in responses)


def test_a_connection_closed_between_two_answers_is_no_failure() -> None:
    responses, connections = kept_answers([[KEPT]] * 4, pause=0.05)
    assert (connections, {one.outcome for one in responses}) == (4, {Outcome.OK})
    assert not any(one.resent for one in responses)


@pytest.mark.parametrize("end", [[0.1], [0.1, Then.RESET]])
def test_a_request_that_meets_a_close_is_sent_again_once(end: list[Step]) -> None:
    responses, connections = kept_answers(
        [
            [KEPT, Then.AGAIN],
            [*end, b""],
            [KEPT],
        ]
    )[0:2]
    assert [one.outcome for one in responses[:2]] == [Outcome.OK, Outcome.OK]
    assert [one.resent for one in responses[:2]] == [False, True]
    assert responses[1].seconds >= 0.05  # from when it was sent first
    assert connections >= 2


def test_a_server_that_closes_every_time_is_reported() -> None:
    responses, _ = kept_answers([[KEPT, Then.AGAIN], [b""], [b""]])
    assert responses[1].outcome is Outcome.TRUNCATED
    assert "no byte of a response" in responses[1].error


def test_bytes_between_two_answers_fail_the_next_request_and_no_more() -> None:
    responses, connections = kept_answers(
        [[KEPT, 0.02, b"x", Then.AGAIN], [KEPT, Then.AGAIN], [KEPT, Then.AGAIN]], pause=0.1
    )
    results = [(one.outcome, one.error) for one in responses]
    assert results == [
        (Outcome.OK, ""),
        (Outcome.MALFORMED, "bytes after the end of the response"),
        (Outcome.OK, ""),
    ]
    assert connections == 2


def test_the_deadline_holds_on_a_kept_connection_for_each_request() -> None:
    """Each has its own, however old the connection is."""
    late: Script = [0.3, KEPT, Then.AGAIN]
    responses, _ = kept_answers([*[late] * 6, [Then.HANG]], timeout=1.5)
    assert [one.outcome for one in responses] == [Outcome.OK] * 6 + [Outcome.TIMEOUT]
    assert 1.499 <= responses[-1].seconds < 1.5 + SLACK


@pytest.mark.parametrize("load", [parallel, partial(paced, rate=10000)])
def test_kept_connections_are_closed_once_there_is_no_more_to_send(
    load: Callable[..., None],
) -> None:
    """A server that has all the connections it wants would never get to the last requests."""
    open_at_last: list[int] = []

    def answer(request: bytes) -> Script:
        if len(server.requests) == 8:
            while server.open > 1:  # until the deadline of this one
                yield 0.01
            open_at_last.append(server.open)
        yield KEPT
        yield Then.AGAIN

    with served(answer) as server:
        target = Target.parse(server.url, keeps=True)
        load(lambda: target, requests=8, connections=4, timeout=60, on_response=lambda _: None)
        assert len(server.requests) == 8
    assert open_at_last == [1]


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [KEPT, HELLO, CHUNKED, INTERIM, HEAD_10, KEPT[:20], KEPT[20:], b"\r\n", b"5\r\nhello\r\n"]
    ),
)
ENDS = st.sampled_from([[], [Then.RESET], [Then.HANG], [Then.AGAIN]])


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.lists(PIECES, max_size=5), ENDS), min_size=1, max_size=20))
def test_fuzzed_answers_never_raise_nor_outlast_the_deadline(
    scripts: list[tuple[list[bytes], list[Then]]],
) -> None:
    """Any bytes in any pieces, on new connections and on kept ones."""

    def main(keeps: bool) -> None:
        answers: Iterator[Script] = itertools.cycle([*pieces, *end] for pieces, end in scripts)
        with served(lambda request: next(answers)) as server:
            target = Target.parse(server.url, keeps=keeps)
            responses: list[Response] = []
            parallel(
                lambda: target, requests=20, connections=10, timeout=0.05,
                on_response=responses.append,
            )  # fmt: skip
            assert len(responses) == 20
            for one in responses:
                # One that is sent again has a deadline of its own.
                assert one.seconds < (2 if one.resent else 1) * (0.05) + SLACK

    main(keeps=False)
    main(keeps=True)


# Connecting


def test_refused() -> None:
    response = fetch(Target.parse(f"http://127.0.0.1:{free_port()}/"), 1)
    assert (response.outcome, response.status, response.body) == (Outcome.REFUSED, None, b"")
    assert "refused" in response.error


def test_no_route_is_not_an_exception() -> None:
    response = fetch(Target.parse("http://255.255.255.255:9/"), 1)
    assert response.outcome is Outcome.REFUSED


def test_running_out_of_descriptors_is_our_own_fault() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with served([HELLO]) as server:
        target = Target.parse(server.url)

        def pick() -> Target:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            return target

        try:
            with pytest.raises(CannotRun, match="no descriptor left"):
                parallel(pick, requests=1, connections=1, timeout=1, on_response=print)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_running_out_of_ports_is_our_own_fault() -> None:
    """By hand, for real: `unshare -n`, `ip link set lo up`, an ip_local_port_range of ten ports."""
    with closing(Connection(Target.parse("http://127.0.0.1/"))) as connection:
        connection._lose(OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"))
        with pytest.raises(CannotRun, match="no local port from"):
            connection.response()


# Targets


def test_the_request_as_the_server_sees_it() -> None:
    def main() -> tuple[list[bytes], list[str]]:
        with served([HELLO]) as server:
            target = Target.parse(server.url + "app?x=1#part")
            urls = [(fetch(each, 5)).url for each in (target, target.with_query("n=2&m=%20"))]
            return server.requests, [url.removeprefix(server.url) for url in urls]

    requests, urls = main()
    assert [request.split(b"\r\n")[0] for request in requests] == [
        b"GET /app?x=1 HTTP/1.1",
        b"GET /app?n=2&m=%20 HTTP/1.1",
    ]
    assert urls == ["app?x=1", "app?n=2&m=%20"]
    assert b"\r\nConnection: close\r\n" in requests[0]
    assert b"\r\nHost: 127.0.0.1:" in requests[0]


def test_a_target_from_a_name_without_a_path() -> None:
    target = Target.parse("http://localhost")
    assert (target.host, target.port, target.address) == ("localhost", 80, "127.0.0.1")
    assert target.request.startswith(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    assert Target.parse("http://[::1]:8/").request.startswith(
        b"GET / HTTP/1.1\r\nHost: [::1]:8\r\n"
    )


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "https://localhost/", "ftp://x/", "http://", "http://h:0/", "http://h:x/",
     "http://h:99999/", "http://[::1/", "http://u:p@h/", "http://h/a b", "http://h/\r\nX: y",
     "http://h/é"],
)  # fmt: skip
def test_not_an_http_url(url: str) -> None:
    with pytest.raises(UsageError):
        Target.parse(url)


@pytest.mark.parametrize("query", ["a b", "a\r\nX: y", "é", "a#b", "\n"])
def test_not_a_query(query: str) -> None:
    with pytest.raises(UsageError):
        Target.parse("http://127.0.0.1/").with_query(query)


@pytest.mark.parametrize("value", ["a\r\nX: y", "\xe9", "\0", "\n"])
def test_not_a_header(value: str) -> None:
    with pytest.raises(UsageError, match="X-Mine"):
        Target.parse("http://127.0.0.1/").with_header("X-Mine", value)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_header_and_its_label_come_along(keeps: bool) -> None:
    with served(lambda request: [HELLO]) as server:
        plain = Target.parse(server.url, keeps=keeps)
        target = plain.with_header("X-Mine", "one two", label="third").with_query("n=1")
        assert target.keeps is keeps
        responses: list[Response] = []
        burst([plain.with_header("X-Mine", "one two", label="third")], 5, responses.append)
    (request,) = server.requests
    assert request.count(b"\r\nX-Mine: one two\r\n\r\n") == 1
    assert request.endswith(b"\r\n\r\n")
    assert target.request.endswith(b"\r\nX-Mine: one two\r\n\r\n")
    assert [one.label for one in responses] == ["third"]
    assert responses[0].url == server.url


@pytest.mark.parametrize("keeps", [True, False])
def test_the_port_of_a_request_with_a_label_is_known(keeps: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports: list[int] = []

        def answer() -> None:
            for _ in range(2):
                connection, peer = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(HELLO)
                ports.append(peer[1])

        server = threading.Thread(target=answer)
        server.start()
        plain = Target.parse(f"http://127.0.0.1:{listener.getsockname()[1]}/", keeps=keeps)
        named = fetch(plain.with_header("X-Request-ID", "a1", label="a1"), SLACK)
        unnamed = fetch(plain, SLACK)
        server.join()
    assert named.outcome is unnamed.outcome is Outcome.OK
    assert [named.client_port, unnamed.client_port] == [ports[0], 0]


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(CannotRun, match="does not resolve"):
        Target.parse("http://no-such-host.invalid/")


# The engine


def together(server: Hostile, number: int) -> Script:
    """Answer once so many connections have been open at the same time."""
    while server.peak < number:
        yield 0.005
    yield HELLO


@pytest.mark.parametrize(("requests", "connections"), [(1000, 50), (7, 50), (0, 5), (3, 1)])
def test_parallel_sends_exactly_what_was_asked_for(requests: int, connections: int) -> None:
    responses: list[Response] = []
    most = min(requests, connections)

    def main() -> tuple[int, int]:
        with served(lambda request: together(server, most)) as server:
            target = Target.parse(server.url)
            numbers = iter(range(requests))
            parallel(
                lambda: target.with_query(str(next(numbers))),
                requests=requests,
                connections=connections,
                timeout=60,
                on_response=responses.append,
            )
            return len(server.requests), server.peak

    asked, peak = main()
    assert asked == len(responses) == len({response.url for response in responses}) == requests
    assert all(response.outcome is Outcome.OK for response in responses)
    assert peak == most


def test_one_connection_is_one_at_a_time_and_in_order() -> None:
    responses: list[Response] = []

    def main() -> int:
        with served([HELLO]) as server:
            target = Target.parse(server.url)
            parallel(
                lambda: target.with_query(str(len(responses))),
                requests=20,
                connections=1,
                timeout=60,
                on_response=responses.append,
            )
            return server.peak

    assert main() == 1
    assert [int(response.url.partition("?")[2]) for response in responses] == list(range(20))


def test_a_burst_is_all_at_the_same_time() -> None:
    responses: list[Response] = []

    def main() -> int:
        with served(lambda request: together(server, 100)) as server:
            target = Target.parse(server.url)
            burst([target] * 100, 30, responses.append)
            return server.peak

    assert main() == 100
    assert [response.outcome for response in responses] == [Outcome.OK] * 100


def test_stop_starts_no_more_and_finishes_those_in_flight() -> None:
    responses: list[Response] = []

    def main() -> int:
        with served([0.01, HELLO]) as server:
            target = Target.parse(server.url)
            parallel(
                lambda: target,
                requests=1000,
                connections=10,
                timeout=60,
                on_response=responses.append,
                stop=lambda: len(responses) >= 30,
            )
            return len(server.requests)

    assert main() == len(responses)
    assert 30 <= len(responses) < 40
    assert all(response.outcome is Outcome.OK for response in responses)


def test_an_exception_in_on_response_ends_the_run() -> None:
    seen: list[Response] = []

    def fail(response: Response) -> None:
        seen.append(response)
        if len(seen) == 3:
            raise LookupError("enough")

    def main() -> None:
        with served([0.005, HELLO]) as server:
            target = Target.parse(server.url)
            parallel(lambda: target, requests=1000, connections=10, timeout=60, on_response=fail)

    with pytest.raises(LookupError, match="enough"):
        main()
    assert len(seen) == 3


def test_a_local_failure_in_the_first_request_ends_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The workers that have not yet begun are dropped without a word."""

    def pick() -> Target:
        raise CannotRun("no")

    with pytest.raises(CannotRun):
        parallel(pick, requests=99, connections=9, timeout=1, on_response=print)
    gc.collect()
    assert capsys.readouterr().err == ""


def test_no_connections_is_a_usage_error() -> None:
    target = Target.parse("http://127.0.0.1/")
    with pytest.raises(UsageError):
        parallel(lambda: target, requests=1, connections=0, timeout=1, on_response=print)


def test_ctrl_c_ends_a_wait_and_never_the_account_of_an_answer() -> None:
    begun, accounted = 0, 0

    def on_response(response: Response) -> None:
        nonlocal begun, accounted
        begun += 1
        if begun == 3:
            signal.raise_signal(signal.SIGINT)
        accounted += 1

    with served(lambda request: [HELLO] if begun < 3 else [Then.HANG]) as server:
        target = Target.parse(server.url)
        with pytest.raises(KeyboardInterrupt):
            parallel(
                lambda: target, requests=9, connections=1, timeout=300, on_response=on_response
            )
    assert begun == accounted == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_with_the_last_answer_is_not_lost() -> None:
    with served([HELLO]) as server, pytest.raises(KeyboardInterrupt):
        burst([Target.parse(server.url)], 5, lambda _: signal.raise_signal(signal.SIGINT))


def test_sockets_that_another_process_has_for_a_moment_do_no_harm() -> None:
    # A thread that starts a process: until its exec(2) that has all our descriptors, and what we
    # close stays in our epoll.
    held: list[socket.socket] = []
    responses: list[Response] = []

    def respond(target: Target, response: Response) -> None:
        responses.append(response)
        if not held:
            held.extend(copies_of_connections_to(target.port))

    def answer(request: bytes) -> Script:
        # One answer comes before any other, and only once all three connections are open.
        first = len(server.requests) == 1
        while not held and not (first and len(server.requests) >= 3):
            yield 0.005
        yield HELLO

    try:
        with served(answer) as server:
            target = Target.parse(server.url)
            parallel(
                lambda: target,
                requests=20,
                connections=3,
                timeout=300,
                on_response=partial(respond, target),
            )
    finally:
        for one in held:
            one.close()
    assert len(held) == 2
    assert [one.outcome for one in responses] == [Outcome.OK] * 20


def copies_of_connections_to(port: int) -> list[socket.socket]:
    """As another process would have them, of the connections of ours to that port."""
    all_of_ours = psutil.Process().net_connections("tcp4")
    to_there = [one.fd for one in all_of_ours if one.raddr and one.raddr.port == port]
    return [socket.socket(fileno=os.dup(descriptor)) for descriptor in to_there]


def test_nothing_is_left_behind() -> None:
    """No descriptor stays open, and no connection waits for the garbage collector."""
    scripts: Iterator[Script] = iter([script for script, *_ in ANSWERS.values()] * 2)

    def main() -> None:
        with served(lambda request: next(scripts)) as server:
            target = Target.parse(server.url)
            parallel(
                lambda: target,
                requests=2 * len(ANSWERS),
                connections=4,
                timeout=60,
                on_response=lambda _: None,
            )
            kinds = (Connection, ResponseParser, ConnectionPool)
            left = [each for each in gc.get_objects() if isinstance(each, kinds)]
            assert len(left) == 0

    answer_to([HELLO])  # what is opened once
    gc.collect()  # what earlier tests left, with their tracebacks
    before = len(list(Path("/proc/self/fd").iterdir()))
    gc.disable()
    try:
        main()
    finally:
        gc.enable()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


INTERRUPTED = """
import socket, sys
from wsgiproof.load.engine import parallel
from wsgiproof.load.target import Target
with socket.create_server(("127.0.0.1", 0)) as listener:
    target = Target.parse(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    print("ready", flush=True)
    parallel(lambda: target, requests=99, connections=9, timeout=300, on_response=print)
"""


def test_ctrl_c_ends_a_run_without_noise() -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert out == ""
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "destroyed" not in err
    assert "never" not in err
    assert "ResourceWarning" not in err


# A constant rate


def stalling(after: int) -> Callable[[bytes], Script]:
    """Answers at once, but that from the ``after``-th request on it stalls for one second, once."""
    seen = 0
    until = 0.0

    def answer(request: bytes) -> Script:
        nonlocal seen, until
        seen += 1
        if seen == after:
            until = time.monotonic() + 1
        return [max(until - time.monotonic(), 0.0), HELLO]

    return answer


def test_a_stall_shows_at_a_constant_rate_and_not_in_a_closed_loop() -> None:
    """A second without an answer, once, in 600 requests that are due in three seconds."""

    def main(rate: float | None) -> Latencies:
        histogram = Histogram()

        def on_response(response: Response) -> None:
            assert response.outcome is Outcome.OK
            histogram.add(response.seconds)

        with served(stalling(200)) as server:
            target = Target.parse(server.url)
            load = parallel if rate is None else partial(paced, rate=rate)
            load(lambda: target, requests=600, connections=4, timeout=60, on_response=on_response)
        return histogram.latencies("/")

    def slow(latencies: Latencies) -> int:
        return sum(count for lower, count in latencies.buckets.items() if lower > 500_000)

    open_loop, closed_loop = main(200), main(None)
    assert open_loop.count == closed_loop.count == 600
    assert open_loop.percentile(99.9) >= 0.9
    assert slow(open_loop) >= 60  # all that fell due in the first half of it: 100
    # One in each connection, and one more in each for each pause that a busy machine makes.
    assert slow(closed_loop) < slow(open_loop) / 2


def test_a_constant_rate_is_kept_with_no_more_connections_than_allowed() -> None:
    responses: list[Response] = []

    def main() -> tuple[int, int, int]:
        with served([0.01, HELLO]) as server:
            target = Target.parse(server.url)
            unsent = paced(
                lambda: target, rate=200, requests=100, connections=20, timeout=60,
                on_response=responses.append,
            )  # fmt: skip
            return unsent, len(server.requests), server.peak

    started = time.monotonic()
    unsent, asked, peak = main()
    assert time.monotonic() - started >= 0.45  # 99 of them at 200 a second
    assert (unsent, asked, len(responses)) == (0, 100, 100)
    assert peak <= 20


# Many


def test_a_thousand_connections_at_once_without_a_failure() -> None:
    raise_descriptor_limit(2 * 1000)
    seen: Counter[Outcome] = Counter()

    def main() -> int:
        with served(lambda request: together(server, 1000)) as server:
            target = Target.parse(server.url)
            parallel(
                lambda: target, requests=2000, connections=1000, timeout=300,
                on_response=lambda response: seen.update([response.outcome]),
            )  # fmt: skip
            return server.peak

    assert main() == 1000
    assert seen == {Outcome.OK: 2000}


@pytest.mark.parametrize("keeps", [False, True])
def test_nothing_is_kept_of_a_request(keeps: bool) -> None:
    left: list[int] = []

    def count(response: Response) -> None:
        if len(left) % 1000 == 999:
            gc.collect()
        left.append(len(gc.get_objects()) if len(left) % 1000 == 999 else 0)

    def main() -> None:
        with served([KEPT, Then.AGAIN] if keeps else [HELLO]) as server:
            server.requests = deque(maxlen=1)  # type: ignore[assignment]
            target = Target.parse(server.url, keeps=keeps)
            parallel(lambda: target, requests=4000, connections=4, timeout=60, on_response=count)

    main()
    after = [each for each in left if each]
    assert len(after) == 4
    assert max(after) - min(after) < 200
