"""The headers are a tuple instead of a list, which mod_wsgi refuses with a TypeError and a 500."""

HEADERS = (
    ("Content-Type", "text/plain"),
    ("Cache-Control", "no-store"),
)


def application(environ, start_response):
    start_response("200 OK", HEADERS)
    return [b"done"]
