"""A router that knows no page of this name falls back to the front page, without an error."""

PAGES = {"/about": b"about us"}


class NotFound(LookupError):
    pass


def find(path):
    try:
        return PAGES[path]
    except KeyError:
        raise NotFound(path) from None


def application(environ, start_response):
    try:
        body = find(environ.get("PATH_INFO", "") or "/")
    except NotFound:
        body = b"front page"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
