"""One request in five uses a transaction, which is committed, or aborted on purpose."""

import atexit
import itertools
import os

import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
ACCOUNTS = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["accounts"]
COUNT = itertools.count(1)
ACCOUNTS.insert_one({"amount": 0})  # to create a collection would conflict with transactions
atexit.register(CLIENT.close)


def move(number):
    with CLIENT.start_session() as session, session.start_transaction():
        ACCOUNTS.insert_one({"amount": 5}, session=session)
        if number % 10 == 0:
            session.abort_transaction()


def application(environ, start_response):
    number = next(COUNT)
    if number % 5 == 0:
        move(number)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"moved"]
