"""One request in ten makes a collection for its result and never drops it."""

import atexit
import itertools
import os
import uuid

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
DATABASE = CLIENT[os.environ["WSGIPROOF_DATABASE"]]
COUNT = itertools.count(1)
atexit.register(CLIENT.close)


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        DATABASE["result_" + uuid.uuid4().hex].insert_one({"total": 7})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"computed"]
