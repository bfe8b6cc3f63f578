"""One request in ten reads two of fifty documents and keeps the cursor open."""

import atexit
import itertools
import os

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]
ROWS.insert_many([{"n": n} for n in range(50)])
COUNT = itertools.count(1)
CURSORS = []
atexit.register(CLIENT.close)


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        cursor = ROWS.find(batch_size=2)
        next(cursor)
        CURSORS.append(cursor)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"read"]
