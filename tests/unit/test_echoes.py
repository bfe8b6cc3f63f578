"""Which answers repeat something of their own request, and which something of another one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

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

    def swap(self, texts: Sequence[str]) -> None:
        """Give each of some requests at the same time the answer of the one before it."""
        for number in range(len(texts)):
            self.answer(texts[number - 1], number=number, alone=False)

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
    for number in range(50, 80):
        traffic.answer(f"<p>{traffic.names[number]}</p>", alone=True)
    (echo,) = traffic.found()
    assert echo == Echo(
        what="X-Request-ID",
        url=URL,
        alone=30,
        together=50,
        others=50,
        more=False,
        own=traffic.names[0],
        other=traffic.names[49],
        line=f"<p>{traffic.names[49]}</p>",
    )


def test_an_id_in_a_header_counts_as_well() -> None:
    traffic = Traffic()
    heads = [f"HTTP/1.1 200 OK\r\nX-Request-ID: {name}\r\n\r\n" for name in traffic.names]
    for number in range(30):
        traffic.answer("page", head=heads[number - number % 2], alone=False)
    for number in range(30, 60):
        traffic.answer("page", head=heads[number], alone=True)
    (echo,) = traffic.found()
    assert (echo.others, echo.line) == (15, f"X-Request-ID: {traffic.names[0]}")


def test_answers_of_other_requests_are_found_by_the_port() -> None:
    traffic = Traffic()
    traffic.swap([f"for port {FIRST_PORT + number}." for number in range(50)])
    for number in range(50, 80):
        traffic.answer(f"for port {FIRST_PORT + number}.", alone=True)
    (echo,) = traffic.found()
    assert (echo.what, echo.others, echo.own, echo.other) == ("client port", 50, "40000", "40049")


def test_of_many_some_are_examined() -> None:
    traffic = Traffic()
    traffic.swap(traffic.names[:300])
    for number in range(300, 330):
        traffic.answer(traffic.names[number], alone=True)
    (echo,) = traffic.found()
    assert (echo.together, echo.others, echo.more) == (300, 100, True)


class TestNothingIsMixedUp:
    def test_if_each_answer_repeats_its_own(self) -> None:
        traffic = Traffic()
        for number in range(100):
            traffic.answer(f"{traffic.names[number]} {FIRST_PORT + number}", alone=number >= 50)
        assert [(one.what, one.others) for one in traffic.found()] == [
            ("X-Request-ID", 0),
            ("client port", 0),
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

    def test_if_some_answers_to_many_at_once_name_no_request(self) -> None:
        traffic = Traffic()
        for number in range(50):
            traffic.answer(traffic.names[number] if number % 2 else "busy", alone=False)
        for number in range(50, 80):
            traffic.answer(traffic.names[number], alone=True)
        (echo,) = traffic.found()
        assert (echo.others, echo.more) == (0, False)

    def test_if_too_few_requests_were_alone_to_know(self) -> None:
        traffic = Traffic()
        traffic.swap(traffic.names[:50])
        for number in range(50, 60):
            traffic.answer(traffic.names[number], alone=True)
        assert traffic.found() == ()

    def test_if_a_number_is_no_port_of_a_request(self) -> None:
        traffic = Traffic()
        for _ in range(50):
            traffic.answer("it took 12345 microseconds", alone=False)
        for number in range(50, 80):
            traffic.answer(f"for port {FIRST_PORT + number}", alone=True)
        (echo,) = traffic.found()
        assert echo.others == 0
