"""Each request allocates a kilobyte with malloc, fills it and never frees it."""

import ctypes

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
LIBC.malloc.argtypes = [ctypes.c_size_t]


def application(environ, start_response):
    ctypes.memset(LIBC.malloc(1024), 1, 1024)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
