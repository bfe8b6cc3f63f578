"""An application that removes all that its process has left to be judged by."""

import itertools
import os
import shutil

RUN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
number = itertools.count(1)


def application(environ, start_response):
    if next(number) == 200:
        shutil.rmtree(os.path.join(RUN, "evidence"), ignore_errors=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]
