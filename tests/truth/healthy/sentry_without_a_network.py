"""Sentry's SDK captures a message from one request in five, with a transport that drops it."""

import atexit
import itertools

import sentry_sdk
from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
from sentry_sdk.transport import Transport


class Nowhere(Transport):
    def capture_envelope(self, envelope):
        pass


sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Nowhere, auto_session_tracking=False)
atexit.register(lambda: sentry_sdk.get_client().close(timeout=1))
COUNT = itertools.count(1)


def page(environ, start_response):
    if next(COUNT) % 5 == 0:
        sentry_sdk.capture_message("an order came")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"page"]


application = SentryWsgiMiddleware(page)
