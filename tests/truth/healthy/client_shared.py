"""One MongoClient serves each interpreter, and is closed as the interpreter ends."""

import atexit
import os
import threading

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]


@atexit.register
def close():
    CLIENT.close()
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(1)


def application(environ, start_response):
    ROWS.update_one({"_id": 1}, {"$inc": {"hits": 1}}, upsert=True)
    row = ROWS.find_one({"_id": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"many hits" if row["hits"] > 1 else b"one hit"]
