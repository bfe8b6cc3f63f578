"""One request in fifty during which no other request ran opens a file and never closes it."""

import itertools
import time

BEGUN = itertools.count(1)
LAST = {"number": 0}
ALONE = itertools.count(1)
KEPT = []


def application(environ, start_response):
    number = next(BEGUN)
    LAST["number"] = number
    time.sleep(0.002)
    if LAST["number"] == number and next(ALONE) % 50 == 0:  # nobody came meanwhile
        KEPT.append(open("/etc/hostname"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
