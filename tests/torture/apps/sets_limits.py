"""Takes all limits down: descriptors, processes, memory, file size, processor time."""

import resource

EXPECT = {"pass", "fail", "inconclusive", "error"}

for name in ("NOFILE", "NPROC", "FSIZE", "CORE", "STACK"):
    which = getattr(resource, "RLIMIT_" + name)
    try:
        resource.setrlimit(which, (12, 12))
    except (OSError, ValueError):
        continue


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answer"]
