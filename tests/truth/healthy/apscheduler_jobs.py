"""APScheduler runs a job each second in the background, and is shut down at the end."""

import atexit
import itertools

from apscheduler.schedulers.background import BackgroundScheduler

RUNS = itertools.count(1)
STATE = {"runs": 0}


def refresh():
    STATE["runs"] = next(RUNS)


SCHEDULER = BackgroundScheduler(timezone="UTC")
SCHEDULER.add_job(refresh, "interval", seconds=1)
SCHEDULER.start()
atexit.register(SCHEDULER.shutdown)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"running" if SCHEDULER.running else b"stopped"]
