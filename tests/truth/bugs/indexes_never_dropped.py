"""One request in thirty makes another index, so each insert is slower and the 64th fails."""

import atexit
import itertools
import os
import uuid

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]
COUNT = itertools.count(1)
atexit.register(CLIENT.close)


def application(environ, start_response):
    if next(COUNT) % 30 == 0:
        ROWS.create_index("field_" + uuid.uuid4().hex)
    ROWS.insert_one({"n": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"stored"]
