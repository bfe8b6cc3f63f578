"""A header's value has two lines, which mod_wsgi refuses with a ValueError and a 500."""

POLICY = """default-src 'self';
script-src 'self'"""


def application(environ, start_response):
    headers = [("Content-Type", "text/html"), ("Content-Security-Policy", POLICY)]
    start_response("200 OK", headers)
    return [b"<p>safe</p>"]
