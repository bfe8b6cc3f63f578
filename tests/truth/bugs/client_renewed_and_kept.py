"""Every 250 requests an interpreter makes a new MongoClient and keeps the old one open."""

import itertools
import os

import pymongo

COUNT = itertools.count()
OLD = []
CURRENT = {}


def application(environ, start_response):
    if next(COUNT) % 250 == 0:
        if CURRENT:
            OLD.append(CURRENT["client"])
        CURRENT["client"] = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
    database = CURRENT["client"][os.environ["WSGIPROOF_DATABASE"]]
    database["orders"].find_one({"number": 7})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
