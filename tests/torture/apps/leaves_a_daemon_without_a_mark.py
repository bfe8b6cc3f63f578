"""The same, as another program with an empty environment."""

import os

EXPECT = {"pass", "fail", "inconclusive", "error"}


def daemonise():
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    for number in range(3, 100):
        try:
            os.close(number)
        except OSError:
            continue
    os.execve(
        "/bin/sh", ["[kworker/0:1]", "-c", "trap '' TERM INT HUP; sleep 600 & wait; sleep 600"], {}
    )


daemonise()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
