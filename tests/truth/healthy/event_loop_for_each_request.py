"""Each request runs a coroutine with asyncio.run, which closes its loop."""

import asyncio


async def gather():
    parts = await asyncio.gather(*(part(number) for number in range(3)))
    return b"".join(parts)


async def part(number):
    await asyncio.sleep(0)
    return b"part %d\n" % number


def application(environ, start_response):
    body = asyncio.run(gather())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
