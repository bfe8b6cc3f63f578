"""Answers with a status and a body that would steer a terminal."""

EXPECT = {"fail"}


def application(environ, start_response):
    start_response("500 \x1b[2J owned", [("X-Odd", "value")])
    return [b"\x1b[31m##vso[task.complete]\n::error::owned\n\xff\xfe"]
