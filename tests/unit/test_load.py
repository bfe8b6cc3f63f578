"""The load client, against a real server that misbehaves in every way we could think of."""

from __future__ import annotations

import asyncio
import errno
import gc
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.hostile import Script, Step, Then, hostile
from wsgiproof.errors import CannotRun, UsageError
from wsgiproof.load import http
from wsgiproof.load.engine import burst, parallel, run
from wsgiproof.load.http import LAST_LOOK, MAX_BODY, MAX_HEAD, Outcome, Response, Target, fetch

CLOSE = b"Connection: close\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + CLOSE + b"\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + CLOSE + b"\r\n"
SLACK = 0.25  # seconds that a busy machine may add


def answer_to(script: Script, timeout: float = 5.0) -> Response:
    """What the client makes of one answer; checks what has to hold for all of them."""

    async def main() -> Response:
        async with hostile(script) as server:
            return await fetch(Target.parse(server.url), timeout)

    response = run(main())
    assert 0 <= response.seconds <= timeout + LAST_LOOK + SLACK
    assert abs(time.monotonic() - response.started) < timeout + 5
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
    "204": ([b"HTTP/1.1 204 No Content\r\n" + CLOSE + b"\r\n"], Outcome.STATUS, 204, b""),
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
        [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (MAX_BODY + 1)],
        Outcome.MALFORMED,
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
    assert response.seconds < 2


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

    async def main() -> None:
        script: list[bytes] = []
        async with hostile(lambda request: script) as server:
            target = Target.parse(server.url)
            for name in SHORT:
                _, outcome, status, body = ANSWERS[name]
                data = whole(name)
                cuts = [[data[:at], data[at:]] for at in range(1, len(data))]
                for script in [*cuts, [data[at : at + 1] for at in range(len(data))]]:
                    response = await fetch(target, 5)
                    seen = (response.outcome, response.status, response.body)
                    assert seen == (outcome, status, body), (name, script)

    assert len(SHORT) > 20
    run(main())


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
        assert response.seconds < 0.2 + LAST_LOOK + SLACK
        seen[response.outcome] += 1

    async def main() -> None:
        async with hostile(answer) as server:
            target = Target.parse(server.url)
            await parallel(
                lambda: target, requests=600, connections=20, timeout=0.2, on_response=count
            )

    run(main())
    assert seen.total() == 600
    assert set(seen) == set(Outcome) - {Outcome.REFUSED}


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
            response = run(fetch(Target.parse(f"http://127.0.0.1:{address[1]}/"), 0.3))
    assert response.outcome is Outcome.TIMEOUT
    assert "no connection" in response.error
    assert 0.299 <= response.seconds < 0.3 + SLACK


def test_an_answer_in_time_is_no_timeout_when_we_were_late_to_read_it() -> None:
    """The server is a thread here, so that the client's loop can be held up alone."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                time.sleep(0.1)
                sock.sendall(HELLO)

        async def held_up() -> Response:
            asyncio.get_running_loop().call_later(0.05, time.sleep, 0.4)
            port = listener.getsockname()[1]
            return await fetch(Target.parse(f"http://127.0.0.1:{port}/"), 0.3)

        thread = threading.Thread(target=answer)
        thread.start()
        response = run(held_up())
        thread.join()
    assert response.outcome is Outcome.OK, response.error


def test_a_complete_answer_is_ok_even_if_the_server_does_not_close() -> None:
    response = answer_to([HELLO, Then.HANG], timeout=0.3)
    assert response.outcome is Outcome.OK
    assert "not closed" in response.error
    assert response.seconds < 0.2


# Connecting


def test_refused() -> None:
    response = run(fetch(Target.parse(f"http://127.0.0.1:{free_port()}/"), 1))
    assert (response.outcome, response.status, response.body) == (Outcome.REFUSED, None, b"")
    assert "refused" in response.error


def test_no_route_is_not_an_exception() -> None:
    response = run(fetch(Target.parse("http://255.255.255.255:9/"), 1))
    assert response.outcome is Outcome.REFUSED


def test_running_out_of_descriptors_is_our_own_fault() -> None:
    async def main() -> Response:
        async with hostile([HELLO]) as server:
            target = Target.parse(server.url)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                return await fetch(target, 1)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with pytest.raises(CannotRun, match="no descriptor left"):
        run(main())


def test_running_out_of_ports_is_our_own_fault() -> None:
    """By hand, for real: `unshare -n`, `ip link set lo up`, an ip_local_port_range of ten ports."""

    async def main() -> None:
        connection = http._Connection(1)
        connection.begin(Target.parse("http://127.0.0.1/"))
        connection.lost = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        connection.response()

    with pytest.raises(CannotRun, match="no local port is left"):
        run(main())


# Targets


def test_the_request_as_the_server_sees_it() -> None:
    async def main() -> tuple[list[bytes], list[str]]:
        async with hostile([HELLO]) as server:
            target = Target.parse(server.url + "app?x=1#part")
            urls = [(await fetch(each, 5)).url for each in (target, target.with_query("n=2&m=%20"))]
            return server.requests, [url.removeprefix(server.url) for url in urls]

    requests, urls = run(main())
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


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(CannotRun, match="does not resolve"):
        Target.parse("http://no-such-host.invalid/")


# The engine


@pytest.mark.parametrize(("requests", "connections"), [(1000, 50), (7, 50), (0, 5), (3, 1)])
def test_parallel_sends_exactly_what_was_asked_for(requests: int, connections: int) -> None:
    responses: list[Response] = []

    async def main() -> tuple[int, int]:
        async with hostile([0.02 if connections > 10 else 0.002, HELLO]) as server:
            target = Target.parse(server.url)
            numbers = iter(range(requests))
            await parallel(
                lambda: target.with_query(str(next(numbers))),
                requests=requests,
                connections=connections,
                timeout=5,
                on_response=responses.append,
            )
            return len(server.requests), server.peak

    served, peak = run(main())
    assert served == len(responses) == len({response.url for response in responses}) == requests
    assert all(response.outcome is Outcome.OK for response in responses)
    assert peak == min(requests, connections)


def test_one_connection_is_one_at_a_time_and_in_order() -> None:
    responses: list[Response] = []

    async def main() -> int:
        async with hostile([HELLO]) as server:
            target = Target.parse(server.url)
            await parallel(
                lambda: target.with_query(str(len(responses))),
                requests=20,
                connections=1,
                timeout=5,
                on_response=responses.append,
            )
            return server.peak

    assert run(main()) == 1
    assert [int(response.url.partition("?")[2]) for response in responses] == list(range(20))


def test_a_burst_is_all_at_the_same_time() -> None:
    responses: list[Response] = []

    async def main() -> int:
        async with hostile([0.3, HELLO]) as server:
            target = Target.parse(server.url)
            await burst([target] * 100, 5, responses.append)
            return server.peak

    assert run(main()) == 100
    assert [response.outcome for response in responses] == [Outcome.OK] * 100


def test_stop_starts_no_more_and_finishes_those_in_flight() -> None:
    responses: list[Response] = []

    async def main() -> int:
        async with hostile([0.01, HELLO]) as server:
            target = Target.parse(server.url)
            await parallel(
                lambda: target,
                requests=1000,
                connections=10,
                timeout=5,
                on_response=responses.append,
                stop=lambda: len(responses) >= 30,
            )
            return len(server.requests)

    assert run(main()) == len(responses)
    assert 30 <= len(responses) < 40
    assert all(response.outcome is Outcome.OK for response in responses)


def test_an_exception_in_on_response_ends_the_run() -> None:
    seen: list[Response] = []

    def fail(response: Response) -> None:
        seen.append(response)
        if len(seen) == 3:
            raise LookupError("enough")

    async def main() -> None:
        async with hostile([0.005, HELLO]) as server:
            target = Target.parse(server.url)
            await parallel(
                lambda: target, requests=1000, connections=10, timeout=5, on_response=fail
            )

    with pytest.raises(LookupError, match="enough"):
        run(main())
    assert len(seen) == 3


def test_a_local_failure_in_the_first_request_ends_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The workers that have not yet begun are dropped without a word."""

    def pick() -> Target:
        raise CannotRun("no")

    with pytest.raises(CannotRun):
        run(
            parallel(pick, requests=99, connections=9, timeout=1, on_response=lambda response: None)
        )
    gc.collect()
    assert capsys.readouterr().err == ""


def test_no_connections_is_a_usage_error() -> None:
    target = Target.parse("http://127.0.0.1/")
    with pytest.raises(UsageError):
        run(
            parallel(
                lambda: target, requests=1, connections=0, timeout=1, on_response=lambda _: None
            )
        )


def test_a_cancelled_fetch_is_cancelled() -> None:
    async def main() -> None:
        async with hostile([Then.HANG]) as server:
            async with asyncio.timeout(0.1):
                await fetch(Target.parse(server.url), 5)

    with pytest.raises(TimeoutError):
        run(main())


def test_nothing_is_left_behind() -> None:
    """No descriptor stays open, and no connection waits for the garbage collector."""
    scripts: Iterator[Script] = iter([script for script, *_ in ANSWERS.values()] * 2)

    async def main() -> None:
        async with hostile(lambda request: next(scripts)) as server:
            target = Target.parse(server.url)
            await parallel(
                lambda: target,
                requests=2 * len(ANSWERS),
                connections=4,
                timeout=5,
                on_response=lambda _: None,
            )
            await asyncio.sleep(0.01)
            left = [each for each in gc.get_objects() if isinstance(each, http._Connection)]
            assert len(left) == 0

    answer_to([HELLO])  # libuv keeps a few descriptors from its first loop on
    gc.collect()  # what earlier tests left, with their tracebacks
    before = len(list(Path("/proc/self/fd").iterdir()))
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


INTERRUPTED = """
import socket, sys
from wsgiproof.load.engine import parallel, run
from wsgiproof.load.http import Target
with socket.create_server(("127.0.0.1", 0)) as listener:
    target = Target.parse(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    print("ready", flush=True)
    run(parallel(lambda: target, requests=99, connections=9, timeout=30, on_response=print))
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
        out, err = process.communicate(timeout=10)
    assert out == ""
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "destroyed" not in err
    assert "never" not in err
    assert "ResourceWarning" not in err
