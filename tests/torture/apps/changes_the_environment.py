"""Changes locale, umask, environment and the path of modules."""

import locale
import os
import sys

EXPECT = {"pass", "fail", "inconclusive", "error"}

os.umask(0o777)
os.environ.clear()
os.environ["PYTHONHOME"] = "/nowhere"
sys.path[:] = ["/nowhere"]
locale.setlocale(locale.LC_ALL, "C")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
