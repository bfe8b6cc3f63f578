"""The headers are valid, if unusual: several cookies, Latin-1, an empty value, a long value."""

HEADERS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Set-Cookie", "theme=dark; Path=/; HttpOnly"),
    ("Set-Cookie", "language=de; Path=/; SameSite=Lax"),
    ("X-City", "M\u00fcnchen"),
    ("X-Empty", ""),
    ("Content-Security-Policy", "default-src 'self'; " + "img-src https://example.org; " * 20),
    ("Content-Disposition", "attachment; filename*=UTF-8''%E2%82%AC.txt"),
]


def application(environ, start_response):
    start_response("200 Everything is fine", list(HEADERS))
    return [b"fine"]
