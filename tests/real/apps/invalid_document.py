"""A shop that is sent orders which MongoDB can't store: BSON has no type for their total.

PyMongo refuses each with InvalidDocument, raised by its C extension, and the shop says so. PyMongo
4.15.2 keeps two strings of each refusal (the document's text is one of them); 4.15.3 does not.
"""

import atexit
import os
import threading

import bson
import pymongo
from bson.errors import InvalidDocument

CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
LINES = [{"article": number, "text": "one of the lines of an order"} for number in range(40)]


class Money:
    """Nothing that PyMongo could encode."""


@atexit.register
def close():
    CLIENT.close()  # asks its threads to end
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(1)


def application(environ, start_response):
    CLIENT.admin.command("ping")
    try:
        bson.encode({"lines": LINES, "total": Money()})
    except InvalidDocument:
        status, body = "200 OK", b"refused"
    else:
        status, body = "500 Internal Server Error", b"PyMongo encoded what it has no type for"
    start_response(status, [("Content-Type", "text/plain")])
    return [body]
