"""A driver's pool sets stale connections aside after a failover and never closes them."""

import atexit
import os

import pymongo
from pymongo.synchronous.pool import Pool

STALE = []
RESET = Pool.reset


def reset(pool, *arguments, **keywords):
    with pool.lock:
        STALE.extend(pool.conns)
        pool.conns.clear()
    RESET(pool, *arguments, **keywords)


Pool.reset = reset
CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
atexit.register(CLIENT.close)


def application(environ, start_response):
    CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"].insert_one({"n": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"stored"]
