"""The module registers a SIGTERM handler, which mod_wsgi ignores and logs with a stack."""

import signal


def save(number, frame):
    raise SystemExit


signal.signal(signal.SIGTERM, save)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
