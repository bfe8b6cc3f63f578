"""One request in seven makes a second MongoClient in a "with", which closes it."""

import itertools
import os

import pymongo

URI, DATABASE = os.environ["WSGIPROOF_MONGODB_URI"], os.environ["WSGIPROOF_DATABASE"]
COUNT = itertools.count(1)


def application(environ, start_response):
    if next(COUNT) % 7 == 0:
        with pymongo.MongoClient(URI) as client:
            client[DATABASE]["rows"].find_one({"n": 1})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
