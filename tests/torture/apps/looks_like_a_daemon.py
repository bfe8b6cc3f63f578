"""Starts children whose names are those of Apache's processes."""

import os

EXPECT = {"pass", "fail", "inconclusive", "error"}
MODE = "daemon"

NAMES = ("(wsgi:wsgiproof)", "/usr/sbin/apache2 -k start", "httpd", "guard/__main__.py", "mongod")
for name in NAMES:
    if os.fork() == 0:
        os.execv("/bin/sleep", [name, "600"])


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
