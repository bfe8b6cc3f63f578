"""One request in forty opens a change stream on a collection and keeps it."""

import atexit
import itertools
import os

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]
COUNT = itertools.count(1)
STREAMS = []
atexit.register(CLIENT.close)


def application(environ, start_response):
    if next(COUNT) % 40 == 0:
        stream = ROWS.watch(max_await_time_ms=1)
        stream.try_next()
        STREAMS.append(stream)
    ROWS.insert_one({"n": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"stored"]
