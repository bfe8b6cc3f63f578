"""Each request changes the directory of the whole process and then opens a file by a short name."""

import os
import tempfile
import time


def application(environ, start_response):
    name = environ["mod_wsgi.application_group"].strip("/") or "main"
    home = os.path.join(tempfile.gettempdir(), "wsgiproof-truth-home-" + name)
    os.makedirs(home, exist_ok=True)
    os.chdir(home)
    with open(name + ".txt", "w") as file:
        file.write(name)
    time.sleep(0.001)
    with open(name + ".txt") as file:  # another interpreter may have moved us away
        body = file.read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
