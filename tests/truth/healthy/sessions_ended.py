"""Each request makes a session, reads with it twice and ends it."""

import atexit
import os

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]
atexit.register(CLIENT.close)


def application(environ, start_response):
    with CLIENT.start_session() as session:
        ROWS.find_one({"n": 1}, session=session)
        ROWS.count_documents({"n": 2}, session=session)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"read"]
