"""Answers with a header of a megabyte, and with a thousand of them."""

EXPECT = {"fail"}


def application(environ, start_response):
    headers = [("X-Huge", "h" * (1 << 20))] + [("X-%d" % n, "v") for n in range(1000)]
    start_response("500 Sorry", headers)
    return [b"answer"]
