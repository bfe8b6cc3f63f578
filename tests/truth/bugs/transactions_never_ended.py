"""One request in thirty begins a transaction and neither commits nor aborts it."""

import atexit
import itertools
import os

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ORDERS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["orders"]
COUNT = itertools.count(1)
SESSIONS = []
atexit.register(CLIENT.close)


def application(environ, start_response):
    if next(COUNT) % 30 == 0:
        session = CLIENT.start_session()
        session.start_transaction()
        ORDERS.find_one({"n": 1}, session=session)
        SESSIONS.append(session)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"found"]
