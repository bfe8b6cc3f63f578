"""Recurs without an end, in Python, at each request."""

EXPECT = {"fail"}


def again():
    return again()


def application(environ, start_response):
    return again()
