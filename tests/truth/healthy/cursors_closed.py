"""Each request reads a part of a result and closes its cursor; one in three reads it to the end."""

import atexit
import itertools
import os

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]
ROWS.insert_many([{"n": n} for n in range(60)])
COUNT = itertools.count(1)
atexit.register(CLIENT.close)


def application(environ, start_response):
    with ROWS.find(batch_size=10).limit(40) as cursor:
        rows = list(cursor) if next(COUNT) % 3 == 0 else [next(cursor)]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d rows" % len(rows)]
