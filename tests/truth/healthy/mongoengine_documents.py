"""mongoengine stores a document and reads it back through its default connection."""

import atexit
import os
import threading

import mongoengine

URI, DATABASE = os.environ["WSGIPROOF_MONGODB_URI"], os.environ["WSGIPROOF_DATABASE"]
mongoengine.connect(DATABASE, host=URI, uuidRepresentation="standard")


class Order(mongoengine.Document):
    article = mongoengine.IntField()
    meta = {"auto_create_index": False}


@atexit.register
def close():
    mongoengine.disconnect_all()
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(1)


def application(environ, start_response):
    order = Order(article=7).save()
    found = Order.objects(id=order.id).first()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(found.article).encode()]
