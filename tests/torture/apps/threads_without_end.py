"""Threads that never end and are no daemons."""

import threading

EXPECT = {"pass", "fail", "inconclusive", "error"}


def wait():
    while True:
        threading.Event().wait(1)


for _ in range(5):
    threading.Thread(target=wait, daemon=False).start()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
