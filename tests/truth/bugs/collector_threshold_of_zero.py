"""A "tuning" sets the collector's threshold to 0, so exceptions in cycles pile up for ever."""

import gc

gc.set_threshold(0)


def parse(text):
    try:
        return int(text)
    except ValueError as error:
        failure = error  # the frame refers to the exception, and the exception to the frame
        data = bytearray(8000)
        return len(data) - len(str(failure)) if data else 0


def application(environ, start_response):
    parse("no number")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
