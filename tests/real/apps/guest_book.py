"""A guest book: each request signs it and reads who came last."""

import atexit
import os
import threading

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
GUESTS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["guests"]


@atexit.register
def close():
    CLIENT.close()  # asks its threads to end
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(1)


def application(environ, start_response):
    GUESTS.insert_one({"path": environ["SCRIPT_NAME"], "ünïcode": "é"})
    names = [guest["path"] for guest in GUESTS.find().sort("$natural", -1).limit(10)]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [name.encode() for name in names]
