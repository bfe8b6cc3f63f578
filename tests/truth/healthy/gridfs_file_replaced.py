"""One request in ten stores a file in GridFS, reads it back and deletes it."""

import atexit
import itertools
import os

import gridfs
import pymongo

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
FILES = gridfs.GridFS(CLIENT[os.environ["WSGIPROOF_DATABASE"]])
COUNT = itertools.count(1)
atexit.register(CLIENT.close)


def application(environ, start_response):
    body = b"nothing to store"
    if next(COUNT) % 10 == 0:
        number = FILES.put(b"x" * 300000)
        body = b"%d bytes" % len(FILES.get(number).read())
        FILES.delete(number)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
