"""An application that leaves what would harm whoever reads it without care."""

import itertools
import os
import socket

RUN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EVIDENCE = os.path.join(RUN, "evidence")
number = itertools.count(1)


def plant():
    for kind, end in (
        ("fatal", ".txt"),
        ("outlived", ".txt"),
        ("identity", ".txt"),
        ("requests", "-x"),
    ):
        os.mkfifo("%s/%s-1%s" % (EVIDENCE, kind, end))
        os.symlink("/etc/shadow", "%s/%s-2%s" % (EVIDENCE, kind, end))
        os.symlink("/dev/zero", "%s/%s-3%s" % (EVIDENCE, kind, end))
        os.mkdir("%s/%s-4%s" % (EVIDENCE, kind, end))
        with open("%s/%s-5%s" % (EVIDENCE, kind, end), "wb") as sparse:
            sparse.truncate(30 << 30)
        with open("%s/%s-6%s" % (EVIDENCE, kind, end), "wb") as garbage:
            garbage.write(b'\xff\0[{"' * 10000 + b"\n" + b"[" * 100000)
        with open("%s/%s-x-y" % (EVIDENCE, kind), "wb") as named:
            named.write(b"1 1.0 /url")
    os.chdir(EVIDENCE)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("requests-7-x")
    for _ in range(2000):  # deeper than any path, and than any recursion
        os.mkdir("deep")
        os.chdir("deep")
    os.chdir("/")


def application(environ, start_response):
    if next(number) == 200:
        plant()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]
