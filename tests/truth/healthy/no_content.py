"""Every answer is 204 No Content, as that of a counter or a beacon is."""

import itertools

COUNT = itertools.count(1)
SEEN = {}


def application(environ, start_response):
    SEEN[environ.get("SCRIPT_NAME", "")] = next(COUNT)
    start_response("204 No Content", [("Cache-Control", "no-store")])
    return []
