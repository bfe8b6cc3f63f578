"""One request in four meets a duplicate key and handles it with a page of its own."""

import atexit
import itertools
import os

import pymongo
from pymongo.errors import DuplicateKeyError

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
USERS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["users"]
COUNT = itertools.count(1)
atexit.register(CLIENT.close)


def application(environ, start_response):
    name = "anna" if next(COUNT) % 4 == 0 else os.urandom(8).hex()
    try:
        USERS.insert_one({"_id": name})
        body = b"registered"
    except DuplicateKeyError:
        body = b"already registered"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
