"""The value of Content-Length is an int, which mod_wsgi refuses with a TypeError and a 500."""


def application(environ, start_response):
    page = "<p>order %s</p>" % environ.get("PATH_INFO", "")
    body = page.encode()
    headers = [("Content-Type", "text/html")]
    headers.append(("Content-Length", len(body)))
    start_response("200 OK", headers)
    return [body]
