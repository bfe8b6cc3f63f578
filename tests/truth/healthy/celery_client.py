"""A Celery client sends a task through a broker in memory and empties its queue each time."""

import atexit

from celery import Celery

APP = Celery("shop", broker="memory://")
APP.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=False)
atexit.register(APP.close)


@APP.task
def add(one, other):
    return one + other


def application(environ, start_response):
    with APP.connection_for_write() as connection:
        add.apply_async((1, 2), connection=connection)
        connection.default_channel.queue_purge("celery")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"sent"]
