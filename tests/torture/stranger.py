"""What another user of the machine does, with the standard library alone.

``stranger.py DEED SEED MAIN ABOVE TMP OUTPUT CACHE VICTIM``: it says "here" as it begins, what it
has achieved in lines that begin with ``HARM``, and stays until it is sent away. ABOVE is the
process that all others of the run descend from: it keeps off everybody else's.
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
"""For so long it keeps trying."""


def say(text: str) -> None:
    """One line for the harness."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def below() -> dict[int, str]:
    """The processes of the run, with their names: /proc shows the parents of all to everybody."""
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
    """The TCP ports of a command line of the run: ``--port N`` of mongod, or what Apache listens
    on, which is in no command line, so all ports of the run's user that listen are tried."""
    found = []
    for pid, told in below().items():
        if name == "mongod" and told == "mongod":
            with suppress(OSError, ValueError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if "--port" in words:
                    found.append(int(words[words.index("--port") + 1]))
    return found


def apache_ports() -> list[int]:
    """The ports of the run's Apache, which the harness names in a file: no other server of the
    machine may be touched."""
    with suppress(OSError, ValueError):
        return [int(word) for word in (TMP.parent / "ports").read_text().split()]
    return []


def message(port: int, body: bytes) -> bytes:
    """Send an OP_MSG to a mongod and return what it answers."""
    payload = struct.pack("<I", 0) + b"\0" + body
    head = struct.pack("<iiii", 16 + len(payload), 1, 0, 2013)
    with socket.create_connection(("127.0.0.1", port), 3) as one:
        one.settimeout(3)
        one.sendall(head + payload)
        return one.recv(65536)


def document(**fields: object) -> bytes:
    """BSON of numbers, texts and documents."""
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
    """Take every lock that may be opened, and keep it."""
    held = []
    for path in (directory, *directory.rglob("*")):
        if path.name.endswith("lock") or path == directory:
            with suppress(OSError):
                held.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    say(f"holds {len(held)} locks")
    time.sleep(3600)


def mongod(deed: str) -> None:
    """What a client without a password can do to the run's mongod."""
    for port in ports("mongod"):
        try:
            if deed == "shut mongod down":
                ping = message(port, document(shutdown=1, force=True, **{"$db": "admin"}))
                if not ping or accepted(ping):
                    say("HARM shut down the run's mongod")
            elif deed == "write to mongod":
                row = document(x=1)
                array = struct.pack("<i", len(row) + 8) + b"\x030\0" + row + b"\0"
                if accepted(message(port, document(insert="c", documents=array, **{"$db": "x"}))):
                    say("HARM wrote to the run's mongod")
            else:
                for name in ("test", "admin", "local", "config"):
                    if accepted(message(port, document(dropDatabase=1, **{"$db": name}))):
                        say(f"HARM dropped a database ({name}) of the run's mongod")
        except OSError as error:
            # Gone in the middle of the answer is what a shutdown looks like.
            if deed == "shut mongod down" and error.errno == errno.ECONNRESET:
                say("HARM shut down the run's mongod")


def hold(found: list[int], count: int, words: bytes) -> None:
    """Open connections, say something, and stay."""
    held = []
    for port in found:
        for _ in range(count):
            with suppress(OSError):
                one = socket.create_connection(("127.0.0.1", port), 3)
                one.sendall(words)
                held.append(one)
    say(f"holds {len(held)} connections")
    time.sleep(3600)


def http(path: str) -> None:
    """Ask Apache for something, and tell what it did about that."""
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
                    say(f"HARM made the server wait ({path})")
                    continue
                if time.monotonic() - began > 3:
                    say(f"HARM made the server wait ({path})")
                if b'"memory"' in answer:
                    say("HARM was told of the server's memory")


def plant() -> None:
    """Put links under names that somebody may use, and into what anybody may write."""
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
                    say(f"planted {path.name[:10]}/{inner}")
            with suppress(OSError):
                list(path.iterdir())
                say("HARM listed a scratch directory") if DEED.startswith("read") else None
        time.sleep(0.005)


def read_environments() -> None:
    """Look for a token of root's in the environment of what runs as us."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for pid in below():
            with suppress(OSError):
                if b"SECRET_TOKEN" in Path(f"/proc/{pid}/environ").read_bytes():
                    say(f"HARM read a token of root's from a process ({below().get(pid)})")
                    return
        time.sleep(0.002)


def signal_all() -> None:
    """Kill what may be killed, of this run alone."""
    for pid, name in below().items():
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            say(f"killed {name}")
            if name not in ("apache2", "httpd"):
                say(f"HARM killed {name}")


def main() -> None:
    """Do it, and stay."""
    say("here")
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
        "signal everybody": signal_all,
    }
    deeds[DEED]()
    time.sleep(3600)


if __name__ == "__main__":
    main()
