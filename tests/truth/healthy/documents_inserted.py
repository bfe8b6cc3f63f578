"""Each request stores a document, so a collection grows as it is meant to."""

import atexit
import os
import time

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ORDERS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["orders"]
atexit.register(CLIENT.close)


def application(environ, start_response):
    ORDERS.insert_one({"at": time.time(), "article": 7, "note": "x" * 200})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]
