"""A Flask application that keeps its MongoClient in an extension and uses it in each request."""

import atexit
import os
import threading

import pymongo
from flask import Flask, current_app, jsonify

application = Flask(__name__)
CLIENT = pymongo.MongoClient(os.environ["WSGIPROOF_MONGODB_URI"])
application.extensions["orders"] = CLIENT[os.environ["WSGIPROOF_DATABASE"]]["orders"]


@atexit.register
def close():
    CLIENT.close()
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo"):
            thread.join(1)


@application.route("/", strict_slashes=False)
def page():
    orders = current_app.extensions["orders"]
    number = orders.insert_one({"article": 7}).inserted_id
    return jsonify(article=orders.find_one({"_id": number})["article"])
