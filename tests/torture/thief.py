"""Occupies ports: ``thief.py FIRST WIDTH half|all|come and go SEED``; prints "taken" once it has
them.

It is a script, so that a sandbox can kill it.
"""

from __future__ import annotations

import random
import socket
import sys
import time

_AT_ONCE = 0.01
"""Seconds for which a thief that comes and goes keeps its ports."""


def take(port: int) -> socket.socket | None:
    """Bind a port as a server would; return None if it is taken."""
    one = socket.socket()
    try:
        one.bind(("127.0.0.1", port))
        one.listen()
    except OSError:
        one.close()
        return None
    return one


def main() -> None:
    """Occupy ports until this process is killed."""
    first, width, how, seed = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    rng = random.Random(seed)
    ports = list(range(first, first + width + 1))
    held = []
    if how in ("half", "all"):
        rng.shuffle(ports)
        held = [take(port) for port in ports[: len(ports) // 2 if how == "half" else len(ports)]]
    sys.stdout.write("taken\n")
    sys.stdout.flush()
    while how == "come and go":
        held = [take(port) for port in rng.sample(ports, len(ports) // 4)]
        time.sleep(_AT_ONCE)
        for one in held:
            if one is not None:
                one.close()
    while held:
        time.sleep(3600)


if __name__ == "__main__":
    main()
