"""One request in ten opens a listening socket on the loopback for a callback and keeps it."""

import itertools
import socket

COUNT = itertools.count(1)
SERVERS = []


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        SERVERS.append(server)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
