"""``wsgiproof client`` as a user has it: its command line, what it counts, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.hostile import Hostile, Script, Then, hostile
from tests.unit.test_load import CLOSE, HEAD_10, HELLO, free_port

KEPT = HELLO.replace(CLOSE, b"")
NOT_FOUND = b"HTTP/1.1 404 No\r\nContent-Length: 6\r\n" + CLOSE + b"\r\nno\x1b[2J"
OURS = {"pid": 7, "token": "a token", "application_group": "two", "more": 1}
BODY = json.dumps(OURS).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(BODY), CLOSE, BODY)


class Ended:
    """What became of one command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def traffic(self) -> dict[str, Any]:
        traffic: dict[str, Any] = json.loads(self.out)
        return traffic


def client(
    answer: Script | Callable[[bytes], Script],
    *arguments: str,
    meanwhile: Callable[[Hostile, asyncio.subprocess.Process], Awaitable[None]] | None = None,
    ignored: bool = False,
) -> tuple[Ended, Hostile]:
    """Run the command against a server that answers so; ``URL`` in ``arguments`` is its URL."""

    # As a shell starts a job in the background.
    ignore = ["sh", "-c", 'trap "" INT; exec "$0" "$@"'] if ignored else []

    async def main() -> tuple[Ended, Hostile]:
        async with hostile(answer) as server:
            words = [word.replace("URL", server.url) for word in arguments]
            process = await asyncio.create_subprocess_exec(
                *ignore, sys.executable, "-m", "wsgiproof", "client", *words,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env=os.environ | {"COLUMNS": "80"},
            )  # fmt: skip
            if meanwhile is not None:
                await meanwhile(server, process)
            out, err = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode is not None
            return Ended(process.returncode, out.decode(), err.decode()), server

    return asyncio.run(main())


# The recipe's command line


@pytest.mark.parametrize(
    "arguments",
    ["-n 250 -t 7 parallel URLa URLb", "--nrequests=250 --nthreads=7 parallel URLa URLb",
     "parallel -n250 URLa -t7 URLb", "-n 250 -c serial URLa URLb",
     "-n 250 -q -t 7 parallel URLa URLb"],
)  # fmt: skip
def test_the_recipes_command_lines_make_exactly_so_many_requests(arguments: str) -> None:
    ended, server = client([0.001, HELLO], *arguments.split())
    assert (ended.code, len(server.requests)) == (0, 250), ended.err
    assert server.connections == 250
    assert server.peak == 1 if "serial" in arguments else 2 <= server.peak <= 7
    paths = {request.split()[1] for request in server.requests}
    assert paths == {b"/a", b"/b"}
    assert ("250 requests" in ended.out) == ("-q" not in arguments)
    assert not ended.err


def test_quiet_says_nothing_but_what_failed() -> None:
    assert client([HELLO], "-q", "-n", "5", "serial", "URL")[0].out == ""
    ended, _ = client([NOT_FOUND], "-q", "-n", "5", "serial", "URL")
    assert ended.code == 1
    assert "answered 404" in ended.out


def test_it_stops_at_the_first_failure_unless_it_may_continue() -> None:
    """Also in parallel, where the recipe's own client may exit with 0."""
    for mode in ("parallel", "serial"):
        ended, server = client([0.02, NOT_FOUND], "-n", "500", "-t", "5", mode, "URL")
        assert ended.code == 1
        assert len(server.requests) <= 10
        ended, server = client([NOT_FOUND], "-n", "500", "-t", "5", "-c", mode, "URL")
        assert (ended.code, len(server.requests)) == (1, 500)
        assert "500 failed: 500 status" in ended.out


def test_a_failure_is_shown_with_its_url_status_and_body_made_printable() -> None:
    ended, server = client([NOT_FOUND], "-n", "1", "serial", "URLx")
    assert f"FAILED (status) {server.url}x: answered 404" in ended.out
    assert "status 404, the body begins: no?[2J" in ended.out
    assert "\x1b" not in ended.out


def test_each_kind_of_failure_is_counted_apart() -> None:
    answers: dict[bytes, Script] = {
        b"/ok": [HELLO], b"/status": [NOT_FOUND], b"/reset": [HELLO[:9], 0.01, Then.RESET],
        b"/late": [Then.HANG], b"/short": [HEAD_10 + b"abc"], b"/wild": [b"SSH-2.0\r\n"],
        b"/other": [HELLO.replace(b"hello", b"HELLO")],
    }  # fmt: skip
    urls = [f"URL{path.decode()[1:]}" for path in answers]
    ended, server = client(
        lambda request: answers[request.split()[1]],
        "-n", "140", "-c", "--timeout", "2", "--expect-body", "^hel+o$", "--json", "--seed", "5",
        "parallel", *urls,
    )  # fmt: skip
    made = [request.split()[1] for request in server.requests]
    kinds = {"status": b"/status", "reset": b"/reset", "timeout": b"/late", "truncated": b"/short",
             "malformed": b"/wild", "invalid body": b"/other"}  # fmt: skip
    traffic = ended.traffic
    assert traffic["kinds"] == {kind: made.count(path) for kind, path in kinds.items()}
    assert traffic["failed"] == 140 - made.count(b"/ok") == sum(traffic["kinds"].values())
    assert (ended.code, traffic["requests"]) == (1, 140)
    assert 0 < len(traffic["first_failures"]) <= 5


def test_a_refused_first_connection_is_a_failure() -> None:
    ended, _ = client([], "-n", "9", "parallel", f"http://127.0.0.1:{free_port()}/")
    assert ended.code == 1
    assert "FAILED (refused)" in ended.out
    assert re.search(r"(\d) failed: \1 refused", ended.out)


def test_a_server_killed_half_way_is_reported_with_what_it_had_answered() -> None:
    answered = 0

    def answer(request: bytes) -> Script:
        nonlocal answered
        answered += 1
        return [HELLO] if answered <= 100 else [Then.RESET]

    ended, _ = client(answer, "-n", "300", "-t", "4", "-c", "--json", "parallel", "URL")
    assert ended.code == 1
    assert ended.traffic["requests"] - ended.traffic["failed"] == 100
    assert ended.traffic["kinds"] == {"reset": 200}


def test_a_server_that_does_not_close_is_reported_and_is_not_a_failure() -> None:
    ended, _ = client([HELLO, Then.HANG], "-n", "3", "--timeout", "1", "parallel", "URL")
    assert ended.code == 0
    assert "3 were answered, but the server did not close" in ended.out


# More than the recipe


def test_a_seed_repeats_the_choice_of_urls() -> None:
    def paths(seed: str) -> list[bytes]:
        _, server = client([HELLO], "-n", "40", "--seed", seed, "serial", "URLa", "URLb")
        return [request.split()[1] for request in server.requests]

    assert paths("1") == paths("1") != paths("2")


def test_kept_connections_carry_all_requests() -> None:
    ended, server = client(
        [KEPT, Then.AGAIN], "-n", "300", "-t", "4", "--keepalive", "--json", "parallel", "URL"
    )
    assert (ended.code, len(server.requests), server.connections) == (0, 300, 4)
    assert ended.traffic["resent"] == 0


def test_latencies_are_reported_for_each_url_and_each_interpreter() -> None:
    ended, server = client([ANSWER], "-n", "60", "--json", "parallel", "URLa", "URLb")
    urls = {one["url"]: one for one in ended.traffic["latencies"]}
    assert set(urls) == {server.url + "a", server.url + "b"}
    assert sum(count for one in urls.values() for count in one["buckets"].values()) == 60
    for one in urls.values():
        assert 0 < one["percentiles"]["p50"] <= one["percentiles"]["p99.9"] <= one["longest"] / 1e6
    found = {(one["url"], one["pid"], one["interpreter"]) for one in ended.traffic["interpreters"]}
    assert found == {(url, 7, "two") for url in urls}
    ended, _ = client([ANSWER], "-n", "6", "serial", "URL")
    assert "process 7, two" in ended.out
    assert "p99.9 ms" in ended.out


def test_a_body_that_has_to_be_json() -> None:
    assert client([ANSWER], "-n", "3", "--expect-json", "serial", "URL")[0].code == 0
    ended, _ = client([HELLO], "-n", "3", "--expect-json", "serial", "URL")
    assert ended.code == 1
    assert "FAILED (invalid body)" in ended.out
    assert "not JSON" in ended.out


def test_a_duration_ends_it() -> None:
    ended, server = client([0.01, HELLO], "--duration", "0.5", "--json", "parallel", "URL")
    assert ended.code == 0
    assert ended.traffic["requests"] == len(server.requests) > 0
    assert ended.traffic["seconds"] >= 0.45


def test_requests_that_fell_due_and_could_not_be_sent_are_reported() -> None:
    ended, server = client(
        [0.2, HELLO], "--rate", "100", "--duration", "1", "-t", "2", "--json", "parallel", "URL"
    )
    assert ended.traffic["requests"] + ended.traffic["unsent"] == 100
    assert 0 < ended.traffic["requests"] == len(server.requests) <= 14


@pytest.mark.parametrize(
    "arguments",
    ["", "parallel", "sideways URL", "-n x parallel URL", "parallel https://localhost/",
     "-t 0 parallel URL", "--rate 0 parallel URL", "--expect-body ( parallel URL"],
)  # fmt: skip
def test_a_wrong_command_line_is_exit_code_2(arguments: str) -> None:
    ended, server = client([HELLO], *arguments.split())
    assert (ended.code, ended.out, len(server.requests)) == (2, "", 0)
    assert len(ended.err.splitlines()) == 1


# How it is ended


def signals(*numbers: int) -> Callable[[Hostile, asyncio.subprocess.Process], Awaitable[None]]:
    """Send these once some requests have been answered."""

    async def send(server: Hostile, process: asyncio.subprocess.Process) -> None:
        while len(server.requests) < 50:
            await asyncio.sleep(0.01)
        for number in numbers:
            process.send_signal(number)

    return send


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_what_was_done_until_then(number: int) -> None:
    ended, server = client(
        [0.01, HELLO], "-n", "99999", "-t", "5", "parallel", "URL", meanwhile=signals(number)
    )
    assert ended.code == 130, ended.err
    found = re.search(r"Interrupted after .*: ([\d,]+) requests", ended.out)
    assert found is not None
    assert 45 <= int(found[1].replace(",", "")) <= len(server.requests)
    assert "Traceback" not in ended.err


def test_with_sigint_ignored_it_goes_on_and_failures_still_count() -> None:
    ended, server = client(
        lambda request: [0.005, NOT_FOUND],
        "-n", "200", "-t", "5", "-c", "parallel", "URL",
        meanwhile=signals(signal.SIGINT), ignored=True,
    )  # fmt: skip
    assert (ended.code, len(server.requests)) == (1, 200)
    assert "200 failed" in ended.out


def test_with_sigint_ignored_sigterm_still_ends_it() -> None:
    ended, _ = client(
        [0.01, HELLO], "-n", "99999", "parallel", "URL",
        meanwhile=signals(signal.SIGTERM), ignored=True,
    )  # fmt: skip
    assert ended.code == 130, ended.err
    assert "Interrupted after" in ended.out
