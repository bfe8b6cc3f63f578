"""An application that puts links in the place of what we have laid out, in each run directory."""

import glob
import itertools
import os
import sys

RUN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
number = itertools.count(1)


def attack():
    for run in glob.glob(os.path.join(os.path.dirname(RUN), "wsgiproof-*")):
        for name in ("planted", "httpd.conf", "httpd.events"):
            attempt(os.symlink, "/etc", os.path.join(run, name))
        attempt(os.rename, os.path.join(run, "app"), os.path.join(run, "other"))
    attempt(os.rename, os.path.join(RUN, "evidence"), os.path.join(RUN, "away"))
    attempt(os.symlink, "/etc", os.path.join(RUN, "evidence"))


def attempt(act, *arguments):
    try:
        act(*arguments)
    except OSError:
        return
    sys.stderr.write("attack succeeded: %s %s\n" % (act.__name__, arguments[-1]))


def application(environ, start_response):
    if next(number) == 200:
        attack()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]
