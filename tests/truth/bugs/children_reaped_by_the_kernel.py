"""SIGCHLD is ignored for the whole process, so a failing command's exit code is reported as 0."""

import ctypes
import subprocess

SIGCHLD, IGNORE = 17, 1
ctypes.CDLL(None).signal(SIGCHLD, ctypes.c_void_p(IGNORE))  # "no zombies"


def application(environ, start_response):
    done = subprocess.run(["/bin/false"], check=False)
    if done.returncode == 0:
        raise RuntimeError("a command that fails came back with 0")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"checked"]
