"""Each request keeps the exception that it has handled, with its traceback and all local values."""

FAILURES = []


def parse(text, data):
    return int(text) + len(data)


def application(environ, start_response):
    try:
        parse("seven", bytearray(3000))
    except ValueError as error:
        FAILURES.append(error)  # "for the error page"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
