"""The answer is a file, handed to wsgi.file_wrapper where the server has one."""

import os
import tempfile

with tempfile.NamedTemporaryFile(prefix="wsgiproof-truth-", delete=False) as written:
    written.write(b"download" * 4000)
    SIZE = written.tell()
SOURCE = open(written.name, "rb")
os.unlink(written.name)  # the open file stays readable


def application(environ, start_response):
    file = open("/proc/self/fd/%d" % SOURCE.fileno(), "rb")
    headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(SIZE))]
    start_response("200 OK", headers)
    if "wsgi.file_wrapper" in environ:
        return environ["wsgi.file_wrapper"](file, 8192)
    return iter(lambda: file.read(8192), b"")
