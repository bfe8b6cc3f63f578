"""A cache on the disk holds thirty files and replaces them in turn; all go as the process ends."""

import atexit
import itertools
import os
import shutil
import tempfile

DIRECTORY = tempfile.mkdtemp(prefix="wsgiproof-truth-")
COUNT = itertools.count(1)
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)


def application(environ, start_response):
    number = next(COUNT)
    temporary = os.path.join(DIRECTORY, "new-%d" % number)
    with open(temporary, "w") as file:
        file.write("page %d" % number)
    os.replace(temporary, os.path.join(DIRECTORY, "page-%d" % (number % 30)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"cached"]
