"""A cookie's value is bytes, which mod_wsgi refuses on Python 3 with a TypeError and a 500."""

import binascii
import os


def application(environ, start_response):
    token = binascii.hexlify(os.urandom(8))
    cookie = b"token=" + token
    start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", cookie)])
    return [b"welcome"]
