"""Each request maps a file, reads a part of it and unmaps it."""

import mmap
import tempfile

FILE = tempfile.TemporaryFile(prefix="wsgiproof-truth-")
FILE.write(b"page" * 20000)
FILE.flush()


def application(environ, start_response):
    with mmap.mmap(FILE.fileno(), 0, access=mmap.ACCESS_READ) as page:
        body = page[4:8]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
