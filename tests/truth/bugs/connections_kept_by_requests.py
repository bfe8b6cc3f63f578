"""One request in five opens a connection to MongoDB and keeps it for ever."""

import itertools
import os
import socket
from urllib.parse import urlsplit

SERVER = urlsplit(os.environ["WSGIPROOF_MONGODB_URI"])
COUNT = itertools.count(1)
KEPT = []


def application(environ, start_response):
    if next(COUNT) % 5 == 0:
        KEPT.append(socket.create_connection((SERVER.hostname, SERVER.port)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
