"""The attacks of another user of the machine, with only the standard library.

``stranger.py DEED SEED MAIN ABOVE TMP OUTPUT CACHE VICTIM``: it prints "here" when it starts, and a
line that begins with ``HARM`` for each success, and runs until it is terminated. ABOVE is the
common ancestor of all processes of the run: it does not touch other processes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

DEED, SEED = sys.argv[1], int(sys.argv[2])
MAIN, ABOVE = int(sys.argv[3]), int(sys.argv[4])
TMP, OUTPUT, CACHE, VICTIM = (Path(name) for name in sys.argv[5:9])
SECONDS = 20.0
"""How long it keeps trying."""


def print_line(text: str) -> None:
    """Print one line for the harness."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def below() -> dict[int, str]:
    """Return the processes of the run with their names: everyone can see the parents of all
    processes in /proc."""
    parents, names = {}, {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                head, _, tail = (path / "stat").read_text(errors="replace").rpartition(")")
                parents[int(path.name)] = int(tail.split()[1])
                names[int(path.name)] = head.partition("(")[2]
    found = {ABOVE}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found - {ABOVE, os.getpid()} if pid in names}


def ports(name: str) -> list[int]:
    """Return the TCP ports in the command lines of the run's mongods (``--port N``)."""
    found = []
    for pid, process in below().items():
        if name == "mongod" and process == "mongod":
            with suppress(OSError, ValueError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if "--port" in words:
                    found.append(int(words[words.index("--port") + 1]))
    return found


def apache_ports() -> list[int]:
    """Return the ports of the run's Apache, which the harness writes to a file, since no other
    server of the machine may be touched."""
    with suppress(OSError, ValueError):
        return [int(word) for word in (TMP.parent / "ports").read_text().split()]
    return []


def message(port: int, body: bytes) -> bytes:
    """Send an OP_MSG to a mongod and return its reply."""
    payload = struct.pack("<I", 0) + b"\0" + body
    head = struct.pack("<iiii", 16 + len(payload), 1, 0, 2013)
    with socket.create_connection(("127.0.0.1", port), 3) as one:
        one.settimeout(3)
        one.sendall(head + payload)
        return one.recv(65536)


def document(**fields: object) -> bytes:
    """Encode numbers, texts and documents as BSON."""
    body = b""
    for key, value in fields.items():
        name = key.encode() + b"\0"
        if isinstance(value, bool):
            body += b"\x08" + name + (b"\1" if value else b"\0")
        elif isinstance(value, int):
            body += b"\x10" + name + struct.pack("<i", value)
        elif isinstance(value, bytes):
            body += b"\x04" + name + value
        else:
            text = str(value).encode() + b"\0"
            body += b"\x02" + name + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def accepted(answer: bytes) -> bool:
    """Whether a command succeeded: its ``ok`` is 1.0."""
    return b"\x01ok\0" + struct.pack("<d", 1.0) in answer


def lock(directory: Path) -> None:
    """Acquire every lock file that can be opened, and hold it."""
    held = []
    for path in (directory, *directory.rglob("*")):
        if path.name.endswith("lock") or path == directory:
            with suppress(OSError):
                held.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    print_line(f"holds {len(held)} locks")
    time.sleep(3600)


def mongod(deed: str) -> None:
    """Try what a client without a password can do to the run's mongod."""
    for port in ports("mongod"):
        try:
            if deed == "shut mongod down":
                ping = message(port, document(shutdown=1, force=True, **{"$db": "admin"}))
                if not ping or accepted(ping):
                    print_line("HARM shut down the run's mongod")
            elif deed == "write to mongod":
                row = document(x=1)
                array = struct.pack("<i", len(row) + 8) + b"\x030\0" + row + b"\0"
                if accepted(message(port, document(insert="c", documents=array, **{"$db": "x"}))):
                    print_line("HARM wrote to the run's mongod")
            else:
                for name in ("test", "admin", "local", "config"):
                    if accepted(message(port, document(dropDatabase=1, **{"$db": name}))):
                        print_line(f"HARM dropped a database ({name}) of the run's mongod")
        except OSError as error:
            # A connection that closes in the middle of the reply looks like a shutdown.
            if deed == "shut mongod down" and error.errno == errno.ECONNRESET:
                print_line("HARM shut down the run's mongod")


def hold(found: list[int], count: int, words: bytes) -> None:
    """Open connections, send some bytes, and keep them open."""
    held = []
    for port in found:
        for _ in range(count):
            with suppress(OSError):
                one = socket.create_connection(("127.0.0.1", port), 3)
                one.sendall(words)
                held.append(one)
    print_line(f"holds {len(held)} connections")
    time.sleep(3600)


def http(path: str) -> None:
    """Send requests to Apache, and print whether they did harm."""
    for port in apache_ports():
        for number in (1, 2):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 3) as one:
                one.settimeout(5)
                url = f"/interpreter{number}{path}"
                one.sendall(f"GET {url} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                began = time.monotonic()
                try:
                    answer = one.recv(65536)
                except TimeoutError:
                    print_line(f"HARM made the server wait ({path})")
                    continue
                if time.monotonic() - began > 3:
                    print_line(f"HARM made the server wait ({path})")
                if b'"memory"' in answer:
                    print_line("HARM got data about the server's memory")


def plant() -> None:
    """Plant links under names that the run may use, and in directories that are writable."""
    rng = random.Random(SEED)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for name in (f"wsgiproof-{rng.randrange(1 << 30)}", "wsgiproof", "mongodb-27017.sock"):
            with suppress(OSError):
                (TMP / name).symlink_to(VICTIM)
        for path in TMP.glob("wsgiproof-*"):
            if path.is_symlink():
                continue
            for inner in ("app", "evidence", "httpd.conf", "mod_wsgi", "data", "planted"):
                with suppress(OSError):
                    (path / inner).symlink_to(VICTIM)
                    print_line(f"planted {path.name[:10]}/{inner}")
            with suppress(OSError):
                list(path.iterdir())
                print_line("HARM listed a scratch directory") if DEED.startswith("read") else None
        time.sleep(0.005)


def read_environments() -> None:
    """Look for root's token in the environments of processes of this user."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for pid in below():
            with suppress(OSError):
                if b"SECRET_TOKEN" in Path(f"/proc/{pid}/environ").read_bytes():
                    print_line(f"HARM read a token of root's from a process ({below().get(pid)})")
                    return
        time.sleep(0.002)


def signal_all() -> None:
    """Kill every process of this run that may be killed."""
    for pid, name in below().items():
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            print_line(f"killed {name}")
            if name not in ("apache2", "httpd"):
                print_line(f"HARM killed {name}")


def main() -> None:
    """Carry out the deed, and wait to be terminated."""
    print_line("here")
    deeds = {
        "lock the cache": lambda: lock(CACHE),
        "lock the output": lambda: lock(OUTPUT),
        "shut mongod down": lambda: mongod(DEED),
        "write to mongod": lambda: mongod(DEED),
        "drop databases": lambda: mongod(DEED),
        "hold connections to mongod": lambda: hold(ports("mongod"), 40, b""),
        "occupy the server": lambda: http("?occupy=86400&until=9999999999"),
        "ask for memory": lambda: http("?memory=2"),
        "send garbage": lambda: hold(apache_ports(), 3, random.Random(SEED).randbytes(2000)),
        "hold a connection": lambda: hold(apache_ports(), 1, b"GET / HTTP/1.1\r\n"),
        "plant in TMPDIR": plant,
        "plant in the run directory": plant,
        "read the environment": read_environments,
        "read the scratch directories": plant,
        "signal all_processes": signal_all,
    }
    deeds[DEED]()
    time.sleep(3600)


if __name__ == "__main__":
    main()
