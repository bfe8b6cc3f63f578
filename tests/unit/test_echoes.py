"""Which answers repeat something of their own request, and which something of another one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest

from wsgiproof.load.response import Response
from wsgiproof.observe.echoes import Echoes, RequestIds
from wsgiproof.records.observed import Echo
from wsgiproof.records.traffic import Outcome

URL = "http://127.0.0.1:8080/interpreter1"
FIRST_PORT = 40_000


class Traffic:
    """Requests with ids and ports, and the answers to them."""

    def __init__(self) -> None:
        self._ids = RequestIds()
        self.names = [self._ids.next() for _ in range(1000)]
        self._echoes = Echoes(self._ids)
        self._next = 0

    def answer(self, body: str, *, head: str = "", number: int | None = None, alone: bool) -> None:
        """Answer one request, by default the next."""
        number = self._next if number is None else number
        self._next = number + 1
        self._echoes.add(
            Response(
                URL,
                Outcome.OK,
                200,
                body.encode(),
                "",
                0.0,
                0.01,
                label=self.names[number],
                head=head.encode(),
                client_port=FIRST_PORT + number,
            ),
            alone=alone,
        )

    def swap(self, texts: Sequence[str], first: int = 0) -> None:
        """Give each of some requests at the same time the answer of the one before it."""
        for number in range(len(texts)):
            self.answer(texts[number - 1], number=first + number, alone=False)

    def right(self, requests: int) -> None:
        """Answer requests that are alone with their own ids."""
        for _ in range(requests):
            self.answer(self.names[self._next], alone=True)

    def found(self) -> tuple[Echo, ...]:
        return self._echoes.found()


def test_an_id_is_a_uuid_that_no_other_request_has() -> None:
    ids = RequestIds()
    made = [ids.next() for _ in range(300)]
    assert len({*made}) == 300
    assert {uuid.UUID(one).version for one in made} == {4}
    assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}
    assert RequestIds().next()[:20] != made[0][:20]


def test_answers_of_other_requests_are_found_by_the_id_in_the_body() -> None:
    traffic = Traffic()
    traffic.swap([f"<p>{name}</p>" for name in traffic.names[:50]])
    traffic.right(30)
    (echo,) = traffic.found()
    assert echo == Echo(
        what="X-Request-ID",
        where="body",
        url=URL,
        alone=30,
        together=50,
        others=50,
        own=traffic.names[0],
        other=traffic.names[49],
        text=f"<p>{traffic.names[49]}</p>",
    )


def test_an_id_in_a_header_counts_as_well() -> None:
    traffic = Traffic()
    heads = [f"HTTP/1.1 200 OK\r\nX-Request-ID: {name}\r\n\r\n" for name in traffic.names]
    for number in range(30):
        traffic.answer("page", head=heads[number - number % 2], alone=False)
    for number in range(30, 60):
        traffic.answer("page", head=heads[number], alone=True)
    (echo,) = traffic.found()
    assert (echo.where, echo.others) == ("headers", 15)
    assert echo.text == f"HTTP/1.1 200 OK X-Request-ID: {traffic.names[0]}"


def test_a_right_header_hides_no_wrong_body() -> None:
    traffic = Traffic()
    for number in range(50):
        traffic.answer(traffic.names[number - 1], head=traffic.names[number], alone=False)
    for number in range(50, 80):
        traffic.answer(traffic.names[number], head=traffic.names[number], alone=True)
    assert [(one.where, one.others) for one in traffic.found()] == [("headers", 0), ("body", 50)]


def test_an_id_is_found_wherever_it_is_and_shown_with_what_is_around_it() -> None:
    traffic = Traffic()
    traffic.swap([f"{'x' * 100_000}{{id:{name}}}{'y' * 9000}" for name in traffic.names[:50]])
    traffic.right(30)
    (echo,) = traffic.found()
    assert echo.others == 50
    assert f"xxx{{id:{echo.other}}}yyy" in echo.text
    assert len(echo.text) < 250


def test_answers_that_name_nobody_hide_nothing() -> None:
    traffic = Traffic()
    for _ in range(300):
        traffic.answer("busy", alone=False)
    traffic.swap(traffic.names[300:350], first=300)
    traffic.answer("maintenance", alone=True)
    traffic.right(30)
    (echo,) = traffic.found()
    assert (echo.alone, echo.together, echo.others) == (30, 350, 50)


def test_answers_of_other_requests_are_found_by_the_port() -> None:
    traffic = Traffic()
    traffic.swap([f"for port {FIRST_PORT + number}." for number in range(50)])
    for number in range(50, 80):
        traffic.answer(f"for port {FIRST_PORT + number}.", alone=True)
    (echo,) = traffic.found()
    assert (echo.what, echo.others, echo.own, echo.other) == ("client port", 50, "40000", "40049")


class TestNothingIsMixedUp:
    def test_if_each_answer_repeats_its_own(self) -> None:
        traffic = Traffic()
        for number in range(100):
            traffic.answer(f"{traffic.names[number]} {FIRST_PORT + number}", alone=number >= 50)
        assert [(one.what, one.alone, one.others) for one in traffic.found()] == [
            ("X-Request-ID", 50, 0),
            ("client port", 50, 0),
        ]

    def test_if_answers_repeat_nothing(self) -> None:
        traffic = Traffic()
        for number in range(100):
            traffic.answer("the same page", alone=number >= 50)
        assert traffic.found() == ()

    def test_if_a_cache_names_the_request_that_filled_it(self) -> None:
        traffic = Traffic()
        for number in range(100):
            traffic.answer(traffic.names[number - number % 20], alone=number >= 50)
        assert traffic.found() == ()

    @pytest.mark.parametrize(("alone", "known"), [(19, False), (20, True)])
    def test_if_too_few_requests_were_alone_to_know(self, alone: int, known: bool) -> None:
        traffic = Traffic()
        traffic.swap(traffic.names[:50])
        traffic.right(alone)
        assert bool(traffic.found()) is known

    @pytest.mark.parametrize(
        "other",
        [
            "it took 12345 microseconds",
            f"queue full, retry in {FIRST_PORT + 7} microseconds",
            f"for port 1{FIRST_PORT + 7}",
        ],
        ids=["no port", "elsewhere", "a part of a number"],
    )
    def test_if_a_number_is_no_port_of_a_request(self, other: str) -> None:
        traffic = Traffic()
        for _ in range(50):
            traffic.answer(other, alone=False)
        for number in range(50, 80):
            traffic.answer(f"for port {FIRST_PORT + number}", alone=True)
        (echo,) = traffic.found()
        assert echo.others == 0

    def test_if_the_ports_of_other_requests_are_in_the_headers(self) -> None:
        traffic = Traffic()
        for number in range(80):
            head = f"X-Took: {FIRST_PORT + (number + 1) % 50}"
            traffic.answer(f"for port {FIRST_PORT + number}", head=head, alone=number >= 50)
        (echo,) = traffic.found()
        assert echo.others == 0

    def test_if_longer_numbers_only_begin_like_the_own_port(self) -> None:
        traffic = Traffic()
        traffic.swap([f"n={FIRST_PORT + number}" for number in range(50)])
        for number in range(50, 80):
            traffic.answer(f"n={FIRST_PORT + number}7", alone=True)
        assert traffic.found() == ()
