"""Has handlers that ignore every signal of Apache's."""

import ctypes
import signal

EXPECT = {"pass", "fail", "inconclusive", "error"}

libc = ctypes.CDLL(None)
libc.signal.restype = ctypes.c_void_p
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
    libc.signal(int(number), ctypes.c_void_p(1))  # SIG_IGN, past mod_wsgi's own refusal


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
