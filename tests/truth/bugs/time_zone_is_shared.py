"""Each interpreter sets a time zone of its own, but a process has one: hours of one are wrong."""

import os
import time


def application(environ, start_response):
    tokyo = environ["mod_wsgi.application_group"].endswith("2")
    os.environ["TZ"] = "JST-9" if tokyo else "UTC0"
    time.tzset()
    time.sleep(0.001)  # whatever a request does before it formats a time
    zone = time.strftime("%Z")
    if zone != ("JST" if tokyo else "UTC"):
        raise ValueError("the time zone is %s" % zone)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [zone.encode()]
