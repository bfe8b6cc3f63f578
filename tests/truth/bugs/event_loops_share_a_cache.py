"""Each interpreter runs an asyncio loop in a thread; before Python 3.12 only one of them can."""

import asyncio
import atexit
import threading

LOOP = asyncio.new_event_loop()
THREAD = threading.Thread(target=LOOP.run_forever, daemon=True)
THREAD.start()


@atexit.register
def end():
    LOOP.call_soon_threadsafe(LOOP.stop)
    THREAD.join(2)
    LOOP.close()


async def look(number):
    await asyncio.sleep(0.001)
    return number * 2


def application(environ, start_response):
    answer = asyncio.run_coroutine_threadsafe(look(21), LOOP).result(30)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(answer).encode()]
