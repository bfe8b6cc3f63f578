"""A download's file name has characters outside Latin-1, which mod_wsgi refuses with a 500."""

NAME = "\u0440\u0435\u0437\u044e\u043c\u0435.pdf"


def application(environ, start_response):
    headers = [
        ("Content-Type", "application/pdf"),
        ("Content-Disposition", 'attachment; filename="%s"' % NAME),
    ]
    start_response("200 OK", headers)
    return [b"%PDF-1.4"]
