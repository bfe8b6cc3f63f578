"""One pool of eight threads, filled as requests need it, does a part of each request's work."""

import atexit
import hashlib
from concurrent.futures import ThreadPoolExecutor

POOL = ThreadPoolExecutor(8, thread_name_prefix="shop")
atexit.register(POOL.shutdown)


def digest(text):
    return hashlib.sha256(text).hexdigest()


def application(environ, start_response):
    parts = list(POOL.map(digest, [b"one", b"two", b"three"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(parts).encode()]
