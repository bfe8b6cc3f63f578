"""Attaches to its parent and to its siblings with ptrace(2)."""

import ctypes
import os

EXPECT = {"pass", "fail", "inconclusive", "error"}

PTRACE_ATTACH = 16
libc = ctypes.CDLL(None)
for pid in (os.getppid(), os.getpid() - 1, os.getpid() + 1):
    libc.ptrace(PTRACE_ATTACH, pid, 0, 0)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
