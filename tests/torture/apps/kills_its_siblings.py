"""Kills all processes of its own user, but itself."""

import itertools
import os
import signal

EXPECT = {"pass", "fail", "inconclusive", "error"}

NUMBER = itertools.count()


def application(environ, start_response):
    if next(NUMBER) == 5:
        group = os.getpgid(0)
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and int(name) != os.getpid() and os.getpgid(int(name)) == group:
                    os.kill(int(name), signal.SIGKILL)
            except OSError:
                continue
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
