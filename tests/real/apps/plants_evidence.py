"""An application that leaves what would harm whoever reads it without care."""

import itertools
import os
import socket
from pathlib import Path

EVIDENCE = Path(__file__).resolve().parents[2] / "evidence"
number = itertools.count(1)


def plant():
    try:
        (EVIDENCE / "planted").mkdir()
    except FileExistsError:  # by another interpreter
        return
    for kind, end in (
        ("fatal", ".txt"),
        ("leftover", ".txt"),
        ("identity", ".txt"),
        ("requests", "-x"),
    ):
        os.mkfifo(EVIDENCE / f"{kind}-1{end}")
        (EVIDENCE / f"{kind}-2{end}").symlink_to("/etc/shadow")
        (EVIDENCE / f"{kind}-3{end}").symlink_to("/dev/zero")
        (EVIDENCE / f"{kind}-4{end}").mkdir()
        with (EVIDENCE / f"{kind}-5{end}").open("wb") as sparse:
            sparse.truncate(30 << 30)
        (EVIDENCE / f"{kind}-6{end}").write_bytes(b'\xff\0[{"' * 10000 + b"\n" + b"[" * 100000)
        (EVIDENCE / f"{kind}-x-y").write_bytes(b"1 1.0 /url")
    os.chdir(EVIDENCE)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("requests-7-x")
    for _ in range(2000):  # deeper than any path, and than any recursion
        Path("deep").mkdir()
        os.chdir("deep")
    os.chdir("/")


def application(environ, start_response):
    if next(number) == 50:
        plant()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]
