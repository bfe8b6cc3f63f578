"""Logs and raises what would steer a terminal or a CI system."""

import sys

EXPECT = {"fail"}

WORDS = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\n"
    "##vso[task.complete result=Succeeded;]\n"
    "::error file=x::owned\n\r::set-output name=x::y\n"
)


def application(environ, start_response):
    sys.stderr.write(WORDS)
    raise LookupError(WORDS)
