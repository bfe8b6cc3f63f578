"""The parts of the body are str instead of bytes, so mod_wsgi answers each request with 500."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [
        "You asked for ",
        environ.get("SCRIPT_NAME", ""),
        ".\n",
    ]
