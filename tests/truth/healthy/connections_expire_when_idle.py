"""A client with maxIdleTimeMS of 400: its connections come and go all the time."""

import atexit
import os
import threading

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"], maxIdleTimeMS=400)
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]


@atexit.register
def close():
    CLIENT.close()
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(1)


def application(environ, start_response):
    ROWS.find_one({"n": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
