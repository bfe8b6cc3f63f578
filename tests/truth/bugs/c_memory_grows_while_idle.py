"""A timer in the background allocates 50 KB of C memory a second, also while nobody asks."""

import atexit
import ctypes
import threading

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
STOP = threading.Event()


def refresh():
    while not STOP.wait(0.2):
        ctypes.memset(LIBC.malloc(10000), 1, 10000)


THREAD = threading.Thread(target=refresh, daemon=True)
THREAD.start()
atexit.register(lambda: (STOP.set(), THREAD.join(2)))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
