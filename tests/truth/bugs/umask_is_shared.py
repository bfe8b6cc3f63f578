"""Each interpreter sets an umask of its own, but a process has one: files get the other's mode."""

import os
import stat
import tempfile
import time


def application(environ, start_response):
    mask = 0o077 if environ["mod_wsgi.application_group"].endswith("2") else 0o007
    os.umask(mask)
    time.sleep(0.001)  # whatever a request does before it writes
    with tempfile.TemporaryDirectory(prefix="wsgiproof-truth-") as directory:
        path = os.path.join(directory, "report")
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
        mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode != 0o666 & ~mask:
        raise PermissionError("the file's mode is %o" % mode)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"written"]
