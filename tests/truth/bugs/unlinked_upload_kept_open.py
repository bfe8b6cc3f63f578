"""Each request spools 64 KB to an unlinked file that stays open, so the disk fills unseen."""

import tempfile

SPOOLED = []


def application(environ, start_response):
    file = tempfile.TemporaryFile(prefix="wsgiproof-truth-")
    file.write(b"x" * 65536)
    file.flush()
    SPOOLED.append(file)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"stored"]
