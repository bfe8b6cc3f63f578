"""One request in four begins a session, uses it and keeps it without ending it."""

import atexit
import itertools
import os

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ROWS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["rows"]
COUNT = itertools.count(1)
SESSIONS = []
atexit.register(CLIENT.close)


def application(environ, start_response):
    if next(COUNT) % 4 == 0:
        session = CLIENT.start_session()
        ROWS.find_one({"n": 1}, session=session)
        SESSIONS.append(session)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
