"""Only the second interpreter keeps a connection to MongoDB, in one request of eight."""

import itertools
import os
import socket
from urllib.parse import urlsplit

SERVER = urlsplit(os.environ["WSGIPROOF_MONGODB_URI"])
COUNT = itertools.count(1)
KEPT = []


def application(environ, start_response):
    second = environ["mod_wsgi.application_group"].endswith("2")
    if second and next(COUNT) % 8 == 0:
        KEPT.append(socket.create_connection((SERVER.hostname, SERVER.port)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
