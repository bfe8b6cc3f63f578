"""A small real server that answers as badly as it is told to, on a loopback port.

An answer is a script, played once the request has been read: bytes are sent as they are, a number
is a pause in seconds, and a :class:`Then` is how it ends. A script that just ends closes in good
order; one that ends with AGAIN reads the next request from the same connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
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
        self.writers: set[asyncio.StreamWriter] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        task = asyncio.create_task(self.serve(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.connections += 1
        self.peak = max(self.peak, self.open)
        try:
            more = True
            while more:
                request = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(request)
                more = await self.play(self.answer(request), reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # the client went first
        finally:
            self.open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()  # once what it still has to send is gone
            self.writers.discard(writer)

    async def play(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether another request is to be read."""
        before: Step | None = None
        for step in script:
            if isinstance(step, bytes):
                if isinstance(before, bytes):
                    await asyncio.sleep(0.0005)  # lets the client read that before there is more
                writer.write(step)
                await writer.drain()
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
            before = step
        return False


@asynccontextmanager
async def hostile(answer: Script | Callable[[bytes], Script]) -> AsyncIterator[Hostile]:
    """Serve ``answer``, or what it makes of each request, until the block ends."""
    host = Hostile(answer if callable(answer) else lambda request: answer)
    server = await asyncio.start_server(host.accept, "127.0.0.1", 0, backlog=1024)
    host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield host
    finally:
        for _ in range(5):  # what was just accepted has to become a connection before the close
            await asyncio.sleep(0)
        server.close()
        for writer in host.writers:
            writer.transport.abort()
        for task in host.tasks:
            task.cancel()
        await asyncio.gather(*host.tasks, return_exceptions=True)
        await asyncio.sleep(0)  # closes what was aborted


@contextmanager
def served(answer: Script | Callable[[bytes], Script]) -> Iterator[Hostile]:
    """:func:`hostile` in a thread, for a client that blocks ours."""
    up: Future[tuple[Hostile, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with hostile(answer) as host:
            up.set_result((host, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    host, loop, over = up.result(10)
    try:
        yield host
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
