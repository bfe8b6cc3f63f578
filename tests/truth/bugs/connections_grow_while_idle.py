"""A health check in the background makes a connection to MongoDB each second and keeps them all."""

import atexit
import os
import socket
import threading
from urllib.parse import urlsplit

SERVER = urlsplit(os.environ["WSGIPROOF_MONGODB_URI"])
SOCKETS = []
STOP = threading.Event()


def check():
    while not STOP.wait(1):
        SOCKETS.append(socket.create_connection((SERVER.hostname, SERVER.port)))


THREAD = threading.Thread(target=check, daemon=True)
THREAD.start()
atexit.register(lambda: (STOP.set(), THREAD.join(2)))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
