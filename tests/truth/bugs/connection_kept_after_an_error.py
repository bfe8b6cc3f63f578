"""Each duplicate key, in one request of ten, makes a connection that nobody closes."""

import atexit
import itertools
import os
import socket
from urllib.parse import urlsplit

import pymongo
from pymongo.errors import DuplicateKeyError

SERVER = urlsplit(os.environ["WSGIPROOF_MONGODB_URI"])
CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]
COUNT = itertools.count(1)
KEPT = []
atexit.register(CLIENT.close)


def application(environ, start_response):
    number = next(COUNT)
    try:
        ROWS.insert_one({"_id": "same" if number % 10 == 0 else os.urandom(9)})
    except DuplicateKeyError:
        KEPT.append(socket.create_connection((SERVER.hostname, SERVER.port)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"stored"]
