"""Content-Length counts characters instead of bytes, so the end of every answer is cut off."""

TEXT = "caf\u00e9 \u20ac 3,50"


def application(environ, start_response):
    body = TEXT.encode("utf-8")
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(TEXT))),
    ]
    start_response("200 OK", headers)
    return [body]
