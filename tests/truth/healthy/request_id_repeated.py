"""Header and body repeat the request's id from a context variable, as logging middleware does."""

import contextvars
import time

REQUEST_ID = contextvars.ContextVar("request_id", default="none")


def application(environ, start_response):
    token = REQUEST_ID.set(environ.get("HTTP_X_REQUEST_ID", "none"))
    try:
        time.sleep(0.001)
        body = ("request %s" % REQUEST_ID.get()).encode()
        headers = [("Content-Type", "text/plain"), ("X-Request-ID", REQUEST_ID.get())]
    finally:
        REQUEST_ID.reset(token)
    start_response("200 OK", headers)
    return [body]
