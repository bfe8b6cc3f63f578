"""Each request appends 8 KB to one file that nobody rotates."""

import os
import tempfile

PATH = os.path.join(tempfile.gettempdir(), "wsgiproof-truth-audit-%d.log" % os.getpid())


def application(environ, start_response):
    line = "%s asked for %s\n" % (environ.get("REMOTE_ADDR"), environ.get("SCRIPT_NAME"))
    with open(PATH, "a") as file:
        file.write(line.ljust(8191, ".") + "\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"audited"]
