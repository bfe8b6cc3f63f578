"""Answers with what is no status, and with headers that are none."""

EXPECT = {"fail"}


def application(environ, start_response):
    start_response("9999999999 \u00e9", [("Bad Header\n", "v\r\nX: y")])
    return [b"answer"]
