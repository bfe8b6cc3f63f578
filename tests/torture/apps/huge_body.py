"""Answers a failure with a body of 20 MB."""

EXPECT = {"fail"}
REQUESTS = 60


def application(environ, start_response):
    start_response("500 Sorry", [("Content-Type", "text/plain")])
    return [b"b" * (1 << 20)] * 20
