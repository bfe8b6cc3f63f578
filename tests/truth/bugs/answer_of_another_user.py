"""One answer in three hundred is another user's page, with status 200."""

import itertools

COUNT = itertools.count(1)


def page(user):
    return ("orders of " + user).encode()


def application(environ, start_response):
    user = environ.get("SCRIPT_NAME", "").strip("/")
    if next(COUNT) % 300 == 0:
        user = "somebody-else"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [page(user)]
