"""Raises KeyboardInterrupt, GeneratorExit and SystemExit in turn."""

import itertools

EXPECT = {"fail"}

ALL = itertools.cycle([KeyboardInterrupt, GeneratorExit, SystemExit])


def application(environ, start_response):
    raise next(ALL)("by the application")
