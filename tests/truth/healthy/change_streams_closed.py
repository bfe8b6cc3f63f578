"""One request in twenty opens a change stream, looks once and closes it."""

import atexit
import itertools
import os

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]
COUNT = itertools.count(1)
atexit.register(CLIENT.close)


def application(environ, start_response):
    if next(COUNT) % 20 == 0:
        with ROWS.watch(max_await_time_ms=1) as stream:
            stream.try_next()
    ROWS.replace_one({"_id": 1}, {"n": 1}, upsert=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"looked"]
