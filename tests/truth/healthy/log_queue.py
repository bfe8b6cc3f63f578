"""Records go through a queue to a listener in a thread, which an exit handler stops."""

import atexit
import logging
import logging.handlers
import queue

QUEUE = queue.Queue()
LISTENER = logging.handlers.QueueListener(QUEUE, logging.NullHandler())
LISTENER.start()
atexit.register(LISTENER.stop)
LOG = logging.getLogger("shop")
LOG.propagate = False
LOG.addHandler(logging.handlers.QueueHandler(QUEUE))


def application(environ, start_response):
    LOG.warning("order from %s", environ.get("REMOTE_ADDR"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ordered"]
