"""The module leaves a mark in the process and refuses to be loaded by a second interpreter."""

import resource

LIMIT = resource.getrlimit(resource.RLIMIT_RSS)[0]
if LIMIT == 1 << 40:
    raise ImportError("this module can only be loaded once in a process")
resource.setrlimit(resource.RLIMIT_RSS, (1 << 40, -1))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"loaded"]
