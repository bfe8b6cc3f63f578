"""An exit handler frees a pointer twice, so each process dies of SIGABRT while it ends."""

import atexit
import ctypes

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
LIBC.free.argtypes = [ctypes.c_void_p]
BUFFER = LIBC.malloc(64)


@atexit.register
def release():
    LIBC.free(BUFFER)
    LIBC.free(BUFFER)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
