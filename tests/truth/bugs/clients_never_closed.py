"""One request in thirty makes a MongoClient, asks it once and never closes it."""

import itertools
import os

import pymongo

COUNT = itertools.count(1)
CLIENTS = []


def application(environ, start_response):
    if next(COUNT) % 30 == 0:
        client = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
        client[os.environ["WSGIPROOF_DATABASE"]]["orders"].find_one({"number": 7})
        CLIENTS.append(client)  # a registry that nothing is ever removed from
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
