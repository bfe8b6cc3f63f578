"""gc.freeze() is called once, after the module has loaded its data."""

import gc

TABLE = {number: {"article": number, "name": "article %d" % number} for number in range(20000)}
gc.freeze()


def application(environ, start_response):
    row = TABLE[7]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [row["name"].encode()]
