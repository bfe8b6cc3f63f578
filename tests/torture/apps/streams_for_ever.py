"""Answers with a body that never ends."""

import time

EXPECT = {"fail"}


def endless():
    while True:
        yield b"more"
        time.sleep(0.1)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return endless()
