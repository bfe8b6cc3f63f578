"""A pool of eight connections replaces one in ninety checkouts and forgets the old one."""

import itertools
import os
import queue
import socket
from urllib.parse import urlsplit

SERVER = urlsplit(os.environ["WSGIPROOF_MONGODB_URI"])
COUNT = itertools.count(1)
POOL = queue.LifoQueue()
OLD = []


def connect():
    return socket.create_connection((SERVER.hostname, SERVER.port))


for _ in range(8):
    POOL.put(connect())


def application(environ, start_response):
    connection = POOL.get()
    if next(COUNT) % 90 == 0:
        OLD.append(connection)  # "too old", but still open
        connection = connect()
    POOL.put(connection)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
