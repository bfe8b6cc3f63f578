"""A heartbeat keeps its dead sockets when it connects again after the server has closed them."""

import os
import socket
import threading
from urllib.parse import urlsplit

MEMBERS = urlsplit(os.environ["WSGIPROOF_MONGODB_URI"]).netloc.rpartition("@")[2].split(",")
LOCK = threading.Lock()
SOCKETS = {member: [] for member in MEMBERS}


def beat(member):
    sockets = SOCKETS[member]
    try:
        if not sockets or sockets[-1].recv(1) == b"":
            host, _, port = member.rpartition(":")
            sockets.extend(socket.create_connection((host, int(port)), 1) for _ in range(4))
            sockets[-1].setblocking(False)
    except OSError:
        pass  # nothing to read, or nobody there


def application(environ, start_response):
    with LOCK:
        for member in MEMBERS:
            beat(member)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
