"""One request in ten makes a collection for an intermediate result and drops it."""

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
        step = DATABASE["step_" + uuid.uuid4().hex]
        step.insert_many([{"n": n} for n in range(5)])
        step.drop()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"computed"]
