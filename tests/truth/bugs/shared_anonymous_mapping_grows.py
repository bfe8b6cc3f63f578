"""Each request makes an anonymous shared mapping of 64 KB, fills it and keeps it."""

import mmap

ARENAS = []


def application(environ, start_response):
    arena = mmap.mmap(-1, 65536)  # MAP_SHARED is the default
    arena.write(b"\1" * 65536)
    ARENAS.append(arena)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
