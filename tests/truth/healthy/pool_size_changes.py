"""After 250 requests an interpreter closes its client and uses one with a larger pool."""

import atexit
import itertools
import os
import threading

import pymongo

URI, DATABASE = os.environ["WSGIPROOF_MONGODB_URI"], os.environ["WSGIPROOF_DATABASE"]
COUNT = itertools.count(1)
LOCK = threading.Lock()
CURRENT = {"client": pymongo.MongoClient(URI, maxPoolSize=4)}
atexit.register(lambda: CURRENT["client"].close())


def application(environ, start_response):
    with LOCK:  # nobody uses the client that is closed
        if next(COUNT) == 250:
            CURRENT["client"].close()
            CURRENT["client"] = pymongo.MongoClient(URI, maxPoolSize=20, minPoolSize=6)
        CURRENT["client"][DATABASE]["rows"].find_one({"n": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
