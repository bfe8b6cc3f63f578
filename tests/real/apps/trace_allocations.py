"""Traces its own allocations, as an application that hunts a leak does."""

import os
import tracemalloc

import pymongo

tracemalloc.start()
CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])


def application(environ, start_response):
    CLIENT.admin.command("ping")
    tracemalloc.take_snapshot().statistics("lineno")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"traced"]
