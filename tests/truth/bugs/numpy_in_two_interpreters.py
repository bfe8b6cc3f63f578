"""numpy can't be loaded by a second interpreter of a process, so one of the two never answers."""

import numpy

ONES = numpy.ones(8)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(int(ONES.sum())).encode()]
