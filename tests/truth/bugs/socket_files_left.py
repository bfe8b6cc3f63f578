"""One request in twenty binds a Unix socket, closes it and leaves its file in the directory."""

import itertools
import os
import socket
import tempfile
import threading

COUNT = itertools.count(1)


def application(environ, start_response):
    number = next(COUNT)
    if number % 20 == 0:
        name = "wsgiproof-truth-%d-%d-%d.sock" % (os.getpid(), threading.get_ident(), number)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.join(tempfile.gettempdir(), name))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
