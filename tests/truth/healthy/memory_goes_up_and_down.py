"""Rows are collected until there are 400, about a megabyte, and are then freed at once."""

import threading

LOCK = threading.Lock()
ROWS = []


def application(environ, start_response):
    with LOCK:
        ROWS.append(bytearray(2500))
        if len(ROWS) >= 400:
            ROWS.clear()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"collected"]
