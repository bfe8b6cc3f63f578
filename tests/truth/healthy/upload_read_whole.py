"""The body of a request is read whole and spooled to a file that is closed."""

import tempfile


def application(environ, start_response):
    size = 0
    with tempfile.SpooledTemporaryFile(max_size=65536) as spool:
        source = environ["wsgi.input"]
        for part in iter(lambda: source.read(65536), b""):
            spool.write(part)
            size += len(part)
        spool.write(b"\0" * 100000)  # beyond what is kept in memory
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d bytes" % size]
