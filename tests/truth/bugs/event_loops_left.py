"""One request in ten makes an asyncio event loop and never closes it: three descriptors each."""

import asyncio
import itertools

COUNT = itertools.count(1)
LOOPS = []


async def answer():
    await asyncio.sleep(0)
    return b"answered"


def application(environ, start_response):
    if next(COUNT) % 10 == 0:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(answer())
        LOOPS.append(loop)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answered"]
