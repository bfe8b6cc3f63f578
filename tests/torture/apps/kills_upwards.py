"""Tries to kill Apache's parent, the guard and wsgiproof, and stops its parent."""

import os
import signal

EXPECT = {"pass", "fail", "inconclusive", "error"}


def above():
    pid = os.getppid()
    for _ in range(4):
        if pid <= 1:
            return
        yield pid
        with open("/proc/%d/stat" % pid) as file:
            pid = int(file.read().rpartition(")")[2].split()[1])


def application(environ, start_response):
    if os.geteuid() != 0:
        for pid in above():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
