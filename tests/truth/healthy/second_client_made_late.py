"""A second MongoClient is made by the 300th request of an interpreter and is used from then on."""

import atexit
import itertools
import os
import threading

import pymongo

URI, DATABASE = os.environ["WSGIPROOF_MONGODB_URI"], os.environ["WSGIPROOF_DATABASE"]
COUNT = itertools.count(1)
CLIENTS = [pymongo.MongoClient(URI)]


@atexit.register
def close():
    for client in CLIENTS:
        client.close()
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(1)


def application(environ, start_response):
    if next(COUNT) == 300:
        CLIENTS.append(pymongo.MongoClient(URI, readPreference="secondaryPreferred"))
    CLIENTS[-1][DATABASE]["rows"].find_one({"n": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
