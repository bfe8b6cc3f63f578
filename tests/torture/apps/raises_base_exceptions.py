"""Raises what is no Exception."""

EXPECT = {"fail"}


class Odd(BaseException):
    def __str__(self):
        raise RuntimeError("no text for you")


def application(environ, start_response):
    raise Odd
