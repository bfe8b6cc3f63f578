"""Changes its directory at each request, and removes the one that it is in."""

import os
import tempfile

EXPECT = {"pass", "fail", "inconclusive", "error"}


def application(environ, start_response):
    directory = tempfile.mkdtemp(prefix="wsgiproof-app-")
    os.chdir(directory)
    os.rmdir(directory)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
