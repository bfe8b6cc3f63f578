"""One request in ten makes a view in the database for its report and never drops it."""

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
        name = "report_" + uuid.uuid4().hex
        DATABASE.create_collection(name, viewOn="orders", pipeline=[{"$limit": 5}])
        list(DATABASE[name].find())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"reported"]
