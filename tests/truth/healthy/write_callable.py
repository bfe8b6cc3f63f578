"""The body is written with the callable that start_response returns, and the rest is returned."""


def application(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Content-Length", "15")]
    write = start_response("200 OK", headers)
    write(b"first ")
    write(b"")
    write(b"second ")
    return [b"3\n"]
