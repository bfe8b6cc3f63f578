"""Each request makes a MongoClient, uses it and closes it: slow, but nothing is left."""

import os

import pymongo


def application(environ, start_response):
    client = pymongo.MongoClient(environ["wsgiproof.mongodb_uri"])
    try:
        client[environ["wsgiproof.database"]]["rows"].find_one({"n": 1})
    finally:
        client.close()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [b"found"]
