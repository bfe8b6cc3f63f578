"""Takes memory in each interpreter until 100 MB, and touches all of it."""

EXPECT = {"pass", "fail", "inconclusive", "error"}
MODE = "daemon"

KEPT = []


def application(environ, start_response):
    if len(KEPT) < 50:
        KEPT.append(bytearray(b"x") * (2 << 20))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
