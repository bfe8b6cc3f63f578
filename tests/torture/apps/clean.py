"""Does nothing wrong: what every run is held against."""

EXPECT = {"pass"}


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
