"""One request in fifteen leaves a shared anonymous mapping of one page: 273 bytes a request."""

import itertools
import mmap

COUNT = itertools.count(1)
PAGES = []


def application(environ, start_response):
    if next(COUNT) % 15 == 0:
        page = mmap.mmap(-1, mmap.PAGESIZE)
        page.write(b"\1" * mmap.PAGESIZE)
        PAGES.append(page)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
