"""The request waits in a global, so requests at the same time swap their answers."""

import time

CURRENT = {}


def application(environ, start_response):
    CURRENT["path"] = environ.get("SCRIPT_NAME", "")
    CURRENT["port"] = environ.get("REMOTE_PORT", "")
    time.sleep(0.002)
    body = "%s for port %s" % (CURRENT["path"], CURRENT["port"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
