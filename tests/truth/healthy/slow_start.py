"""The module needs two seconds to load its data; requests are quick."""

import time

time.sleep(2)
DATA = list(range(1000))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(DATA)).encode()]
