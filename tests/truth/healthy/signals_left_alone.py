"""The module looks at the signal handlers and sets none, as mod_wsgi asks of an application."""

import signal
import threading

BEFORE = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
MAIN = threading.current_thread() is threading.main_thread()


def application(environ, start_response):
    same = all(signal.getsignal(number) == handler for number, handler in BEFORE.items())
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Main", str(MAIN))])
    return [b"same" if same else b"changed"]
