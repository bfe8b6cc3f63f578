"""After an AutoReconnect the application makes a new MongoClient and keeps the old one open."""

import os

import pymongo
from pymongo.errors import AutoReconnect

URI = os.environ["WSGIPROOF_MONGODB_URI"]
CLIENTS = [pymongo.MongoClient(URI, retryReads=False, serverSelectionTimeoutMS=4000)]


def find():
    return CLIENTS[-1][os.environ["WSGIPROOF_DATABASE"]]["rows"].find_one({"n": 1})


def application(environ, start_response):
    try:
        find()
    except AutoReconnect:
        CLIENTS.append(pymongo.MongoClient(URI, retryReads=False))
        find()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
