"""The module blocks SIGTERM in the main thread, so Apache has to kill the process at each stop."""

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
