"""A small real server that answers as badly as it is told to, on a loopback port.

An answer is a script, played once the request has been read: bytes are sent as they are, a number
is a pause in seconds, and a :class:`Then` is how it ends. A script that just ends closes in good
order; one that ends with AGAIN reads the next request from the same connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from enum import Enum, auto


class Then(Enum):
    RESET = auto()
    HANG = auto()
    AGAIN = auto()


Step = bytes | float | Then
Script = Iterable[Step]


class Hostile:
    """The server's side of the story: its URL, what was asked, how many connections at once."""

    def __init__(self, answer: Callable[[bytes], Script]) -> None:
        self.answer = answer
        self.url = ""
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.peak = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.open += 1
        self.connections += 1
        self.peak = max(self.peak, self.open)
        try:
            more = True
            while more:
                request = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(request)
                more = await self.play(self.answer(request), reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went first, or the test is over
        finally:
            self.open -= 1
            self.tasks.discard(task)
            writer.close()

    async def play(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether another request is to be read."""
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
                # Let the client read this much before there is more.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            elif step is Then.RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
            elif step is Then.HANG:
                await reader.read()
            elif step is Then.AGAIN:
                return True
            else:
                await asyncio.sleep(step)
        return False


@asynccontextmanager
async def hostile(answer: Script | Callable[[bytes], Script]) -> AsyncIterator[Hostile]:
    """Serve ``answer``, or what it makes of each request, until the block ends."""
    host = Hostile(answer if callable(answer) else lambda request: answer)
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, backlog=1024)
    host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield host
    finally:
        server.close()
        for task in list(host.tasks):
            task.cancel()
        await asyncio.gather(*host.tasks, return_exceptions=True)
