"""Each request reserves a megabyte of address space that it never touches and never gives back."""

import mmap

RESERVED = []


def application(environ, start_response):
    reserved = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    RESERVED.append(reserved)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
