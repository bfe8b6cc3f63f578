"""Has a child that traces the server, so nobody else can."""

import ctypes
import os
import time

EXPECT = {"pass", "fail", "inconclusive", "error"}
MODE = "daemon"

libc = ctypes.CDLL(None)
libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, anybody
SERVER = os.getpid()
if os.fork() == 0:
    if libc.ptrace(0x4206, SERVER, 0, 0) == 0:  # PTRACE_SEIZE
        time.sleep(600)
    os._exit(0)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
