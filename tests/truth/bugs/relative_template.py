"""The template is opened by a relative name, which no daemon process has in its directory."""

PAGE = "templates/page.html"


def application(environ, start_response):
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [page.replace("{user}", "you").encode("utf-8")]
