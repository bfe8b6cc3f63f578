"""One request in thirty creates a set of System V semaphores and never removes it."""

import ctypes
import itertools

LIBC = ctypes.CDLL(None, use_errno=True)
COUNT = itertools.count(1)
CREATE = 0o1000 | 0o600


def application(environ, start_response):
    number = next(COUNT)
    if number % 30 == 0:
        key = 0x57470000 + number
        if environ["mod_wsgi.application_group"].endswith("2"):
            key += 0x8000
        if LIBC.semget(key, 1, CREATE) < 0:
            raise OSError(ctypes.get_errno(), "semget")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
