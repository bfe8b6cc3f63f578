"""A Prometheus client counts requests by path and time, and one in twenty reads all the metrics."""

import itertools

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

REGISTRY = CollectorRegistry()
REQUESTS = Counter("requests", "Requests", ["path"], registry=REGISTRY)
SECONDS = Histogram("seconds", "Seconds of a request", registry=REGISTRY)
COUNT = itertools.count(1)


def application(environ, start_response):
    REQUESTS.labels(environ.get("SCRIPT_NAME", "")).inc()
    with SECONDS.time():
        body = generate_latest(REGISTRY) if next(COUNT) % 20 == 0 else b"counted"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
