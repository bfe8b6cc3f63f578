"""The status is the number 200 instead of a line, so mod_wsgi answers each request with 500."""

from http import HTTPStatus


def application(environ, start_response):
    found = environ.get("PATH_INFO", "") != "/missing"
    status = HTTPStatus.OK.value if found else HTTPStatus.NOT_FOUND.value
    start_response(status, [("Content-Type", "text/plain")])
    return [b"done"]
