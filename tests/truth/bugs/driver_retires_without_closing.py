"""A driver takes one connection in eighty out of its pool and does not close it."""

import atexit
import itertools
import os

import pymongo
from pymongo.synchronous.pool import Pool

COUNT = itertools.count(1)
LOST = []
CHECK_IN = Pool.checkin


def checkin(pool, connection):
    CHECK_IN(pool, connection)
    if next(COUNT) % 80 == 0 and len(pool.conns) > 1:
        LOST.append(pool.conns.pop())  # neither closed nor used again


Pool.checkin = checkin
CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
atexit.register(CLIENT.close)


def application(environ, start_response):
    CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"].find_one({"n": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
