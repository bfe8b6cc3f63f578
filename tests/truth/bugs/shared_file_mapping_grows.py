"""Each request maps 32 KB of a file as shared memory, writes to it and never unmaps it."""

import mmap
import tempfile

FILE = tempfile.TemporaryFile(prefix="wsgiproof-truth-")
FILE.truncate(32768)
MAPS = []


def application(environ, start_response):
    page = mmap.mmap(FILE.fileno(), 32768, mmap.MAP_SHARED)
    page[::4096] = b"x" * 8
    MAPS.append(page)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"mapped"]
